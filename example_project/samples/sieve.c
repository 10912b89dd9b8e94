// Sieve of Eratosthenes: all primes below twenty million
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    const int limit = 20 * 1000 * 1000;
    char *composite = calloc((size_t)limit, 1);
    if (!composite) return 1;
    int count = 0, last = 0;
    for (int n = 2; n < limit; n++) {
        if (composite[n]) continue;
        count++;
        last = n;
        for (long multiple = (long)n * n; multiple < limit; multiple += n) composite[multiple] = 1;
    }
    printf("%d primes below %d, the last is %d\n", count, limit, last);
    free(composite);
    return 0;
}
