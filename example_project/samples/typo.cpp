// Mistakes on purpose: diagnostics are cached, too
#include <iostream>
#include <string>

int main() {
    const std::string greeting = "Hello";
    int length = greeting;
    std::cout << greetnig << " has " << length << " letters\n"
}
