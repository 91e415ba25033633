package io.headrace;

/**
 * Exponential decay in whole numbers, so that Java and Python agree to the last bit.
 *
 * <p>A count loses half of itself in 32 steps, which is {@link #STEP_MS} * 32 = 7 days.
 */
final class Decay {
  /** 7 days / 32. */
  static final long STEP_MS = 18_900_000L;

  /** One event, in the 16.16 fixed point of the counts. */
  static final int ONE = 1 << 16;

  /** {@code TABLE[i] = floor(2^32 * 2^(-i/32))}. */
  private static final long[] TABLE = {
    4294967296L, 4202935003L, 4112874773L, 4024744347L,
    3938502375L, 3854108391L, 3771522796L, 3690706839L,
    3611622602L, 3534232977L, 3458501653L, 3384393094L,
    3311872529L, 3240905930L, 3171459999L, 3103502151L,
    3037000499L, 2971923841L, 2908241642L, 2845924020L,
    2784941737L, 2725266179L, 2666869344L, 2609723833L,
    2553802833L, 2499080104L, 2445529971L, 2393127307L,
    2341847523L, 2291666560L, 2242560871L, 2194507416L,
  };

  private Decay() {}

  /**
   * {@code count} (unsigned 32 bits) after {@code steps} (not negative) steps, rounded down twice:
   * after the part of a half-life and after the whole ones.
   */
  static int decay(int count, long steps) {
    long halvings = steps >>> 5;
    if (halvings >= Integer.SIZE) {
      return 0;
    }
    // The product fits 64 bits without a sign: (2^32 - 1) * 2^32.
    long product = Integer.toUnsignedLong(count) * TABLE[(int) (steps & 31)];
    return (int) ((product >>> 32) >>> halvings);
  }
}
