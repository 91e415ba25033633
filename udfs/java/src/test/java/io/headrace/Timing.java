package io.headrace;

import java.util.HexFormat;
import java.util.SplittableRandom;

/**
 * Prints the nanoseconds that one thread takes to decode an event and to fold one into a profile.
 *
 * <p>Argument: the hex of one valid event for user "user-000001". A figure to look at, not a test.
 */
public final class Timing {
  private static final int ROUNDS = 6;
  private static final int EVENTS = 1_000_000;
  private static final int USERS = 20_000;
  private static final long START_MS = 1_700_000_000_000L;

  public static void main(String[] args) {
    byte[] value = HexFormat.of().parseHex(args[0]);
    for (int round = 0; round < ROUNDS; round++) {
      System.out.printf("decode %d ns, profile %d ns%n", decode(value), profile());
    }
  }

  private static long decode(byte[] value) {
    Decoder decoder = Decoder.events();
    byte[] key = "user-000001".getBytes(java.nio.charset.StandardCharsets.US_ASCII);
    long began = System.nanoTime();
    for (int i = 0; i < EVENTS; i++) {
      Reason reason = decoder.decode(value, key, START_MS, 65536, 946684800000L, 300000);
      if (reason != null) {
        throw new IllegalStateException(reason + ": " + decoder.message);
      }
    }
    return (System.nanoTime() - began) / EVENTS;
  }

  private static long profile() {
    byte[][] users = new byte[USERS][];
    SplittableRandom random = new SplittableRandom(7);
    long began = System.nanoTime();
    for (int i = 0; i < EVENTS; i++) {
      int user = random.nextInt(USERS);
      byte[] next = users[user] == null ? Profile.empty() : users[user].clone();
      users[user] = next;
      Profile.apply(
          next,
          random.nextLong(),
          random.nextLong(),
          random.nextLong(),
          2 + random.nextInt(9),
          START_MS + 1000L * i,
          0f,
          3_600_000L,
          15_552_000_000L);
    }
    return (System.nanoTime() - began) / EVENTS;
  }
}
