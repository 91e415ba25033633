package io.headrace;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/**
 * Offsets of the packed profile, in bytes; drawn and explained in {@code schemas/profile.py}.
 *
 * <p>{@code U2}, {@code I4}, {@code I8} and {@code F4} read and write a little-endian number at an
 * offset of a {@code byte[]}.
 */
final class Layout {
  static final int LAYOUT = 1;
  static final long MIN_TIME_MS = Long.MIN_VALUE;

  static final int HISTORY_LEN = 2;
  static final int EXCLUDED_LEN = 4;
  static final int RECENT_LEN = 6;
  static final int USER_EPOCH = 8;
  static final int VERSION = 16;
  static final int DIGEST_LOW = 24;
  static final int DIGEST_HIGH = 32;
  static final int FIRST_EVENT_TIME = 40;
  static final int LAST_EVENT_TIME = 48;
  static final int FORGOTTEN_AS_OF = 56;
  static final int COUNTS_TIME = 64;
  static final int COUNTS = 72;
  static final int DUPLICATES = 136;
  static final int LATE = 140;
  static final int FORGOTTEN = 144;
  static final int CONTROLS = 148;
  static final int HISTORY = 160;
  static final int EXCLUDED = 1360;
  static final int RECENT = 1872;
  static final int BYTES = 2384;

  static final int TYPE_SLOTS = 16;
  static final int HISTORY_SLOTS = 50;
  static final int EXCLUDED_SLOTS = 64;
  static final int RECENT_SLOTS = 64;

  /** One slot of the history, and the offsets within it. */
  static final int SLOT_BYTES = 24;

  static final int SLOT_ITEM = 0;
  static final int SLOT_TIME = 8;
  static final int SLOT_VALUE = 16;
  static final int SLOT_TYPE = 20;

  static final VarHandle U2 = handle(short[].class);
  static final VarHandle I4 = handle(int[].class);
  static final VarHandle I8 = handle(long[].class);
  static final VarHandle F4 = handle(float[].class);
  static final VarHandle F8 = handle(double[].class);

  private Layout() {}

  private static VarHandle handle(Class<?> view) {
    return MethodHandles.byteArrayViewVarHandle(view, ByteOrder.LITTLE_ENDIAN);
  }
}
