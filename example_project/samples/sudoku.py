# Sudoku by elimination and search, the puzzle on standard input
import sys

UNITS = [[9 * r + c for c in range(9)] for r in range(9)]
UNITS += [[9 * r + c for r in range(9)] for c in range(9)]
UNITS += [[9 * (r + i) + c + j for i in range(3) for j in range(3)] for r in (0, 3, 6) for c in (0, 3, 6)]
PEERS = [{cell for unit in UNITS if here in unit for cell in unit} - {here} for here in range(81)]


def assign(grid: list[str], cell: int, digit: str) -> bool:
    """Fix a digit and strike it from all peers, again for each peer that becomes fixed by that."""
    grid[cell] = digit
    for peer in PEERS[cell]:
        if digit in grid[peer]:
            rest = grid[peer].replace(digit, "")
            if not rest:
                return False
            fixed_now = len(grid[peer]) == 2
            grid[peer] = rest
            if fixed_now and not assign(grid, peer, rest):
                return False
    return True


def search(grid: list[str]) -> list[str] | None:
    open_cells = [cell for cell in range(81) if len(grid[cell]) > 1]
    if not open_cells:
        return grid
    cell = min(open_cells, key=lambda here: len(grid[here]))
    for digit in grid[cell]:
        attempt = grid[:]
        if assign(attempt, cell, digit) and (solved := search(attempt)):
            return solved
    return None


puzzle = [character for character in sys.stdin.read() if character in ".123456789"]
grid = ["123456789"] * 81
possible = all(assign(grid, cell, digit) for cell, digit in enumerate(puzzle) if digit != ".")
solution = search(grid) if possible else None
if solution is None:
    sys.exit("no solution")
for row in range(9):
    digits = solution[9 * row : 9 * row + 9]
    print(" ".join(digits[:3]), "|", " ".join(digits[3:6]), "|", " ".join(digits[6:]))
    if row in (2, 5):
        print("------+-------+------")
