// Mandelbrot set, drawn in letters
#include <complex>
#include <iostream>
#include <string_view>

int escape(std::complex<double> c, int limit) {
    std::complex<double> z = 0;
    int steps = 0;
    while (steps < limit && std::norm(z) <= 4) {
        z = z * z + c;
        ++steps;
    }
    return steps;
}

int main() {
    constexpr std::string_view shades = " .:-=+*#%@";
    constexpr int width = 72, height = 28, limit = 2000;
    for (int row = 0; row < height; ++row) {
        for (int column = 0; column < width; ++column) {
            const std::complex<double> c{-2.2 + 3.2 * column / width, -1.2 + 2.4 * row / height};
            const int steps = escape(c, limit);
            std::cout << (steps == limit ? shades.back() : shades[steps % (shades.size() - 1)]);
        }
        std::cout << '\n';
    }
}
