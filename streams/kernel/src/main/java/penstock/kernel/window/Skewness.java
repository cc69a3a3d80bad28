package penstock.kernel.window;

/** Sample skewness, G1. */
final class Skewness extends HigherMoments {
  Skewness(int number, int object) {
    super(number, object);
  }

  @Override
  int minCount() {
    return 3;
  }

  @Override
  double result(double n, double deviation, double third, double fourth) {
    return n / ((n - 1) * (n - 2)) * third / (deviation * deviation * deviation);
  }
}
