// N-body: the Sun and its four giants, half a million steps
#include <array>
#include <cmath>
#include <iomanip>
#include <iostream>

struct Body {
    double x, y, z, vx, vy, vz, mass;
};

constexpr double pi = 3.14159265358979323846;
constexpr double solar_mass = 4 * pi * pi;
constexpr double year = 365.24;

std::array<Body, 5> bodies{{
    {0, 0, 0, 0, 0, 0, solar_mass},
    {4.84143144246472090e+00, -1.16032004402742839e+00, -1.03622044471123109e-01, 1.66007664274403694e-03 * year,
     7.69901118419740425e-03 * year, -6.90460016972063023e-05 * year, 9.54791938424326609e-04 * solar_mass},
    {8.34336671824457987e+00, 4.12479856412430479e+00, -4.03523417114321381e-01, -2.76742510726411899e-03 * year,
     4.99852801234917238e-03 * year, 2.30417297573763929e-05 * year, 2.85885980666130812e-04 * solar_mass},
    {1.28943695621391310e+01, -1.51111514016986312e+01, -2.23307578892655734e-01, 2.96460137564761618e-03 * year,
     2.37847173959480950e-03 * year, -2.96589568540237556e-05 * year, 4.36624404335156298e-05 * solar_mass},
    {1.53796971148509165e+01, -2.59193146099879641e+01, 1.79258772950371181e-01, 2.68067772490389322e-03 * year,
     1.62824170038242295e-03 * year, -9.51592254519715870e-05 * year, 5.15138902046611451e-05 * solar_mass},
}};

double energy() {
    double sum = 0;
    for (std::size_t i = 0; i < bodies.size(); ++i) {
        const Body& a = bodies[i];
        sum += 0.5 * a.mass * (a.vx * a.vx + a.vy * a.vy + a.vz * a.vz);
        for (std::size_t j = i + 1; j < bodies.size(); ++j) {
            const Body& b = bodies[j];
            sum -= a.mass * b.mass / std::hypot(a.x - b.x, a.y - b.y, a.z - b.z);
        }
    }
    return sum;
}

void advance(double dt) {
    for (std::size_t i = 0; i < bodies.size(); ++i) {
        Body& a = bodies[i];
        for (std::size_t j = i + 1; j < bodies.size(); ++j) {
            Body& b = bodies[j];
            const double dx = a.x - b.x, dy = a.y - b.y, dz = a.z - b.z;
            const double square = dx * dx + dy * dy + dz * dz;
            const double pull = dt / (square * std::sqrt(square));
            a.vx -= dx * b.mass * pull, a.vy -= dy * b.mass * pull, a.vz -= dz * b.mass * pull;
            b.vx += dx * a.mass * pull, b.vy += dy * a.mass * pull, b.vz += dz * a.mass * pull;
        }
    }
    for (Body& body : bodies) {
        body.x += dt * body.vx, body.y += dt * body.vy, body.z += dt * body.vz;
    }
}

int main() {
    Body& sun = bodies[0];
    for (const Body& body : bodies) {  // let the whole system stand still
        sun.vx -= body.vx * body.mass / solar_mass;
        sun.vy -= body.vy * body.mass / solar_mass;
        sun.vz -= body.vz * body.mass / solar_mass;
    }
    std::cout << std::fixed << std::setprecision(9) << "energy before: " << energy() << '\n';
    for (int step = 0; step < 500'000; ++step) advance(0.01);
    std::cout << "energy after:  " << energy() << '\n';
}
