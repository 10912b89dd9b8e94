# Word count of the standard input
import re
import sys
from collections import Counter

words = re.findall(r"[a-z']+", sys.stdin.read().lower())
print(f"{len(words)} words, {len(set(words))} different\n")
for word, count in Counter(words).most_common(8):
    print(f"{count:4}  {word:<10} {'#' * count}")
