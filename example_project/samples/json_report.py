# A report from JSON: orders on standard input, totals by customer
import json
import sys
from collections import defaultdict

orders = json.load(sys.stdin)["orders"]
totals: defaultdict[str, float] = defaultdict(float)
for order in orders:
    totals[order["customer"]] += sum(item["price"] * item["quantity"] for item in order["items"])

width = max(map(len, totals))
for customer, total in sorted(totals.items(), key=lambda pair: -pair[1]):
    print(f"{customer:<{width}}  {total:10,.2f}")
print("-" * (width + 12))
print(f"{'total':<{width}}  {sum(totals.values()):10,.2f}")
