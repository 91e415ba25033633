package io.headrace;

import static io.headrace.Layout.EXCLUDED;
import static io.headrace.Layout.HISTORY;
import static io.headrace.Layout.I4;
import static io.headrace.Layout.I8;

import com.dynatrace.hash4j.hashing.HashValue128;
import com.dynatrace.hash4j.hashing.Hashing;

/**
 * What the profile function asks of the ranking function: one {@code byte[]} with what an engine
 * may look at of the profile, behind its hash and what is known of the record that caused it. Drawn
 * in {@code udfs/request.py}.
 */
final class Request {
  static final byte NONE = 0;
  static final byte LIST = 1;
  static final byte TOMBSTONE = 2;

  static final byte EVENT = 1;
  static final byte RERANK = 2;

  private static final int CAUSE_AT = 1;
  private static final int PARTITION_AT = 4;
  private static final int OFFSET_AT = 8;
  private static final int EVENT_TIME_AT = 16;
  private static final int HASH_AT = 24;
  private static final int PROFILE_AT = 40;

  private Request() {}

  /**
   * @param action {@link #NONE}, {@link #LIST} or {@link #TOMBSTONE}
   * @param cause {@link #EVENT}, {@link #RERANK}, or {@link #NONE}
   * @param partition of the record in its topic, and {@code offset} likewise
   * @param eventTimeMs {@code event_time} or {@code as_of} of the record
   */
  static byte[] of(
      byte action, byte cause, int partition, long offset, long eventTimeMs, byte[] profile) {
    int headAndHistory = HISTORY + Profile.historyLength(profile) * Layout.SLOT_BYTES;
    int excluded = Profile.excludedLength(profile) * Long.BYTES;
    byte[] request = new byte[PROFILE_AT + headAndHistory + excluded];
    request[0] = action;
    request[CAUSE_AT] = cause;
    I4.set(request, PARTITION_AT, partition);
    I8.set(request, OFFSET_AT, offset);
    I8.set(request, EVENT_TIME_AT, eventTimeMs);
    HashValue128 hash = Hashing.xxh3_128().hashBytesTo128Bits(profile);
    I8.set(request, HASH_AT, hash.getLeastSignificantBits());
    I8.set(request, HASH_AT + Long.BYTES, hash.getMostSignificantBits());
    System.arraycopy(profile, 0, request, PROFILE_AT, headAndHistory);
    System.arraycopy(profile, EXCLUDED, request, PROFILE_AT + headAndHistory, excluded);
    return request;
  }
}
