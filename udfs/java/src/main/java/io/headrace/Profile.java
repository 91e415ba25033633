package io.headrace;

import static io.headrace.Decay.decay;
import static io.headrace.Layout.*;

import java.util.Arrays;

/**
 * The rules by which events and orders change one user's packed profile.
 *
 * <p>Pure functions on a {@code byte[]} of {@link Layout#BYTES} bytes, which they change in place:
 * whoever has given an array away passes a copy. {@code pipeline/replay/fold.py} states the same
 * rules in Python. Times are ms since 1970, no earlier than the bound that {@link Decoder} checks,
 * so that no difference of two overflows.
 */
public final class Profile {
  static final int IMPRESSION = 1;
  static final int PURCHASE = 5;
  static final int DISLIKE = 9;
  static final int HIDE = 10;

  private Profile() {}

  /** The profile of a user of whom nothing is known. */
  public static byte[] empty() {
    byte[] p = new byte[BYTES];
    U2.set(p, 0, (short) LAYOUT);
    I8.set(p, FORGOTTEN_AS_OF, MIN_TIME_MS);
    return p;
  }

  public static long version(byte[] p) {
    return (long) I8.get(p, VERSION);
  }

  public static long userEpoch(byte[] p) {
    return (long) I8.get(p, USER_EPOCH);
  }

  static int historyLength(byte[] p) {
    return length(p, HISTORY_LEN);
  }

  static int excludedLength(byte[] p) {
    return length(p, EXCLUDED_LEN);
  }

  /** Whether an event of this type asks for a new list once it is applied. */
  static boolean asksForList(int type) {
    return type != IMPRESSION;
  }

  /**
   * Applies one event or counts why not.
   *
   * @param hashHigh high 64 bits of XXH3-128 of the event id
   * @param hashLow low 64 bits of the same
   * @param item XXH3-64 of the item id
   * @param type 0 to 15, see {@code user_event.v1.avsc}
   */
  public static Outcome apply(
      byte[] p,
      long hashHigh,
      long hashLow,
      long item,
      int type,
      long time,
      float value,
      long allowedLatenessMs,
      long expireAfterMs) {
    boolean known = version(p) > 0;
    long last = (long) I8.get(p, LAST_EVENT_TIME);
    if (time <= (long) I8.get(p, FORGOTTEN_AS_OF)) {
      increment(p, FORGOTTEN);
      return Outcome.FORGOTTEN;
    }
    if (contains(p, RECENT, RECENT_LEN, hashLow)) {
      increment(p, DUPLICATES);
      return Outcome.DUPLICATE;
    }
    if (known && time < last - allowedLatenessMs) {
      increment(p, LATE);
      return Outcome.LATE;
    }
    if (!known) {
      startAt(p, time);
    } else if (time - last > expireAfterMs) {
      expire(p);
      startAt(p, time);
    }
    I8.set(p, VERSION, version(p) + 1);
    addToDigest(p, hashHigh, hashLow);
    append(p, RECENT, RECENT_LEN, RECENT_SLOTS, hashLow);
    stretchTo(p, time);
    count(p, type, time);
    if (asksForList(type)) {
      insertIntoHistory(p, item, type, time, value);
    }
    if (excludes(type) && !contains(p, EXCLUDED, EXCLUDED_LEN, item)) {
      append(p, EXCLUDED, EXCLUDED_LEN, EXCLUDED_SLOTS, item);
    }
    return Outcome.APPLIED;
  }

  /** Counts an order that changes nothing else. */
  public static void rerank(byte[] p) {
    increment(p, CONTROLS);
  }

  /**
   * Erases the whole profile and leaves a marker: events up to {@code asOf} never enter it again.
   *
   * @return false if the user was already forgotten as of then, and only the order was counted
   */
  public static boolean forget(byte[] p, long asOf) {
    increment(p, CONTROLS);
    if (asOf <= (long) I8.get(p, FORGOTTEN_AS_OF)) {
      return false;
    }
    long epoch = userEpoch(p);
    int controls = (int) I4.get(p, CONTROLS);
    Arrays.fill(p, HISTORY_LEN, BYTES, (byte) 0);
    I8.set(p, USER_EPOCH, epoch + 1);
    I8.set(p, FORGOTTEN_AS_OF, asOf);
    I4.set(p, CONTROLS, controls);
    return true;
  }

  private static boolean excludes(int type) {
    return type == PURCHASE || type == DISLIKE || type == HIDE;
  }

  /** After too long a silence only what proves completeness is kept. */
  private static void expire(byte[] p) {
    U2.set(p, HISTORY_LEN, (short) 0);
    U2.set(p, EXCLUDED_LEN, (short) 0);
    U2.set(p, RECENT_LEN, (short) 0);
    Arrays.fill(p, COUNTS, COUNTS + TYPE_SLOTS * Integer.BYTES, (byte) 0);
    Arrays.fill(p, HISTORY, BYTES, (byte) 0);
  }

  private static void startAt(byte[] p, long time) {
    I8.set(p, FIRST_EVENT_TIME, time);
    I8.set(p, LAST_EVENT_TIME, time);
    I8.set(p, COUNTS_TIME, time);
  }

  private static void stretchTo(byte[] p, long time) {
    I8.set(p, FIRST_EVENT_TIME, Math.min((long) I8.get(p, FIRST_EVENT_TIME), time));
    I8.set(p, LAST_EVENT_TIME, Math.max((long) I8.get(p, LAST_EVENT_TIME), time));
  }

  private static void addToDigest(byte[] p, long high, long low) {
    long sum = (long) I8.get(p, DIGEST_LOW) + low;
    long carry = Long.compareUnsigned(sum, low) < 0 ? 1 : 0;
    I8.set(p, DIGEST_LOW, sum);
    I8.set(p, DIGEST_HIGH, (long) I8.get(p, DIGEST_HIGH) + high + carry);
  }

  /** Decays all counts up to {@code time}, or this event down to the time of the counts. */
  private static void count(byte[] p, int type, long time) {
    long countsTime = (long) I8.get(p, COUNTS_TIME);
    long steps = Math.abs(time - countsTime) / Decay.STEP_MS;
    int weight = Decay.ONE;
    if (time < countsTime) {
      weight = decay(Decay.ONE, steps);
    } else if (steps > 0) {
      for (int at = COUNTS; at < COUNTS + TYPE_SLOTS * Integer.BYTES; at += Integer.BYTES) {
        I4.set(p, at, decay((int) I4.get(p, at), steps));
      }
      I8.set(p, COUNTS_TIME, countsTime + steps * Decay.STEP_MS);
    }
    add(p, COUNTS + type * Integer.BYTES, weight);
  }

  private static void increment(byte[] p, int at) {
    add(p, at, 1);
  }

  /** Adds to an unsigned 32-bit counter, which stays at its maximum rather than wrap. */
  private static void add(byte[] p, int at, int amount) {
    long sum = Integer.toUnsignedLong((int) I4.get(p, at)) + amount;
    I4.set(p, at, (int) Math.min(sum, 0xFFFF_FFFFL));
  }

  private static boolean contains(byte[] p, int base, int lengthAt, long hash) {
    int end = base + length(p, lengthAt) * Long.BYTES;
    for (int at = base; at < end; at += Long.BYTES) {
      if ((long) I8.get(p, at) == hash) {
        return true;
      }
    }
    return false;
  }

  /** Appends to a bounded list of hashes, whose oldest leaves when it is full. */
  private static void append(byte[] p, int base, int lengthAt, int slots, long hash) {
    int length = length(p, lengthAt);
    if (length == slots) {
      System.arraycopy(p, base + Long.BYTES, p, base, (slots - 1) * Long.BYTES);
      length--;
    }
    I8.set(p, base + length * Long.BYTES, hash);
    U2.set(p, lengthAt, (short) (length + 1));
  }

  /** Keeps the newest events sorted by time, equal times in order of arrival. */
  private static void insertIntoHistory(byte[] p, long item, int type, long time, float value) {
    int length = length(p, HISTORY_LEN);
    int slot = length;
    while (slot > 0 && (long) I8.get(p, slotAt(slot - 1) + SLOT_TIME) > time) {
      slot--;
    }
    if (length < HISTORY_SLOTS) {
      System.arraycopy(p, slotAt(slot), p, slotAt(slot + 1), (length - slot) * SLOT_BYTES);
      U2.set(p, HISTORY_LEN, (short) (length + 1));
    } else if (slot == 0) {
      return; // older than all that are kept
    } else {
      slot--;
      System.arraycopy(p, slotAt(1), p, slotAt(0), slot * SLOT_BYTES);
    }
    int at = slotAt(slot);
    I8.set(p, at + SLOT_ITEM, item);
    I8.set(p, at + SLOT_TIME, time);
    F4.set(p, at + SLOT_VALUE, value);
    I4.set(p, at + SLOT_TYPE, type); // the type and three zero bytes
  }

  private static int slotAt(int slot) {
    return HISTORY + slot * SLOT_BYTES;
  }

  private static int length(byte[] p, int lengthAt) {
    return (short) U2.get(p, lengthAt);
  }
}
