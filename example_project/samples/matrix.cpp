// Matrix multiplication: 500 x 500, rows walked in memory order
#include <iostream>
#include <vector>

class Matrix {
public:
    explicit Matrix(std::size_t size) : size_(size), cells_(size * size) {}
    double& at(std::size_t row, std::size_t column) { return cells_[row * size_ + column]; }
    double at(std::size_t row, std::size_t column) const { return cells_[row * size_ + column]; }
    std::size_t size() const { return size_; }

private:
    std::size_t size_;
    std::vector<double> cells_;
};

Matrix operator*(const Matrix& left, const Matrix& right) {
    Matrix product(left.size());
    for (std::size_t i = 0; i < left.size(); ++i)
        for (std::size_t k = 0; k < left.size(); ++k) {
            const double factor = left.at(i, k);
            for (std::size_t j = 0; j < left.size(); ++j) product.at(i, j) += factor * right.at(k, j);
        }
    return product;
}

int main() {
    Matrix a(500), b(500);
    for (std::size_t i = 0; i < a.size(); ++i)
        for (std::size_t j = 0; j < a.size(); ++j) {
            a.at(i, j) = static_cast<double>((i * 3 + j * 2 + 1) % 10);
            b.at(i, j) = i == j ? 2.0 : 0.0;
        }
    const Matrix product = a * b;
    double trace = 0;
    for (std::size_t i = 0; i < product.size(); ++i) trace += product.at(i, i);
    std::cout << "trace of a * 2 = " << trace << '\n';
}
