// Twelve queens on a board, counted with three bit masks
#include <stdio.h>

static long place(unsigned all, unsigned columns, unsigned left, unsigned right) {
    if (columns == all) return 1;
    long solutions = 0;
    for (unsigned open = all & ~(columns | left | right); open; open &= open - 1) {
        unsigned queen = open & -open;
        solutions += place(all, columns | queen, (left | queen) << 1, (right | queen) >> 1);
    }
    return solutions;
}

int main(void) {
    for (int n = 4; n <= 12; n++) printf("%2d queens: %ld solutions\n", n, place((1u << n) - 1, 0, 0, 0));
    return 0;
}
