package penstock.kernel.window;

/** Sample excess kurtosis, G2. */
final class Kurtosis extends HigherMoments {
  Kurtosis(int number, int object) {
    super(number, object);
  }

  @Override
  int minCount() {
    return 4;
  }

  @Override
  double result(double n, double deviation, double third, double fourth) {
    double square = deviation * deviation;
    double scaled = n * (n + 1) / ((n - 1) * (n - 2) * (n - 3)) * fourth / (square * square);
    return scaled - 3 * (n - 1) * (n - 1) / ((n - 2) * (n - 3));
  }
}
