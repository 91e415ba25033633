package io.headrace;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.flink.api.common.functions.util.ListCollector;
import org.apache.flink.table.api.dataview.MapView;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.functions.FunctionContext;

/**
 * Lets pytest drive the decoder and the profile: cases in on standard input, results out on
 * standard output, all numbers big-endian. {@code tests/udfs/harness.py} is the other side.
 *
 * <pre>
 * decode MAX_VALUE_BYTES MIN_EVENT_TIME_MS MAX_AHEAD_MS [EVENT_SCHEMA_FILE ...]
 *   with files, oldest version first, these stand in for the packed schemas of events
 *   in   kind u1 (0 event, 1 order), record time i8, value, key
 *        (value and key: length i4, -1 for null, bytes)
 *   out  reason u1 (0 good, else 1 + ordinal), action i1, hash high i8, low i8, item hash i8,
 *        type i1, time i8, amount f4, message (modified UTF-8 with u2 length)
 * registry MAX_VALUE_BYTES MIN_EVENT_TIME_MS MAX_AHEAD_MS NAME=VALUE ...
 *   decode with a schema registry: NAME=VALUE are job parameters without their "headrace."
 *   in   as for decode, before each record the clock's time in ms i8
 *   out  as for decode; reason 255 if there was no verdict, with the exception's message
 * profile ALLOWED_LATENESS_MS EXPIRE_AFTER_MS
 *   in   0: another user: its profile
 *        | 1: event: hash high i8, low i8, item i8, type u1, time i8, value f4
 *        | 2: forget: as_of i8 | 3: rerank
 *   out  outcome u1 (its ordinal), asks for output u1, the profile
 * function ALLOWED_LATENESS_MS EXPIRE_AFTER_MS FLIGHT_RECORDER_FOLDER
 *   in   as for profile, without 0: one user
 *   out  the profiles that RollingProfile emitted, written after the last record
 * names
 *   out  the names of the reasons, then of the outcomes, a line each
 * </pre>
 */
public final class Harness {
  /** Action, hashes, item hash, type, time, amount. */
  private static final int NUMBERS_BYTES = 1 + 8 + 8 + 8 + 1 + 8 + 4;

  private final DataInputStream in = new DataInputStream(new BufferedInputStream(System.in));
  private final DataOutputStream out =
      new DataOutputStream(new BufferedOutputStream(System.out, 1 << 16));

  public static void main(String[] args) throws Exception {
    Harness harness = new Harness();
    switch (args[0]) {
      case "decode" -> harness.decode(
          events(List.of(args).subList(4, args.length)),
          Long.parseLong(args[1]),
          Long.parseLong(args[2]),
          Long.parseLong(args[3]));
      case "registry" -> harness.decodeWithRegistry(
          parameters(List.of(args).subList(4, args.length)),
          Long.parseLong(args[1]),
          Long.parseLong(args[2]),
          Long.parseLong(args[3]));
      case "profile" -> harness.profile(Long.parseLong(args[1]), Long.parseLong(args[2]));
      case "function" -> harness.function(
          Long.parseLong(args[1]), Long.parseLong(args[2]), args[3]);
      case "names" -> harness.names();
      default -> throw new IllegalArgumentException(args[0]);
    }
    harness.out.flush();
  }

  private static Decoder events(List<String> schemaFiles) throws IOException {
    if (schemaFiles.isEmpty()) {
      return Decoder.events();
    }
    List<String> versions = new ArrayList<>();
    for (String file : schemaFiles) {
      versions.add(Files.readString(Path.of(file)));
    }
    return new Decoder("user_event", versions, "event_id", "event_type", "event_time");
  }

  private static Map<String, String> parameters(List<String> assignments) {
    Map<String, String> parameters = new HashMap<>();
    for (String assignment : assignments) {
      String[] parts = assignment.split("=", 2);
      parameters.put("headrace." + parts[0], parts[1]);
    }
    return parameters;
  }

  private void decode(Decoder events, long maxValueBytes, long minEventTimeMs, long maxAheadMs)
      throws IOException {
    Decoder[] decoders = {events, Decoder.controls()};
    for (int kind = in.read(); kind >= 0; kind = in.read()) {
      decodeOne(decoders[kind], maxValueBytes, minEventTimeMs, maxAheadMs);
    }
  }

  private void decodeWithRegistry(
      Map<String, String> parameters, long maxValueBytes, long minEventTimeMs, long maxAheadMs)
      throws IOException {
    AtomicLong clockMs = new AtomicLong();
    Decoder[] decoders = {Decoder.events(), Decoder.controls()};
    for (Decoder decoder : decoders) {
      decoder.useRegistry(new JobParameters(context(parameters)), clockMs::get);
    }
    for (int kind = in.read(); kind >= 0; kind = in.read()) {
      clockMs.set(in.readLong());
      try {
        decodeOne(decoders[kind], maxValueBytes, minEventTimeMs, maxAheadMs);
      } catch (IllegalStateException e) {
        out.writeByte(255);
        out.write(new byte[NUMBERS_BYTES]);
        out.writeUTF(e.getMessage());
      }
    }
  }

  private void decodeOne(
      Decoder decoder, long maxValueBytes, long minEventTimeMs, long maxAheadMs)
      throws IOException {
    long recordTimeMs = in.readLong();
    byte[] value = readBytes();
    byte[] key = readBytes();
    Reason reason =
        decoder.decode(value, key, recordTimeMs, maxValueBytes, minEventTimeMs, maxAheadMs);
    out.writeByte(reason == null ? 0 : 1 + reason.ordinal());
    out.writeByte(decoder.action);
    out.writeLong(decoder.hashHigh);
    out.writeLong(decoder.hashLow);
    out.writeLong(decoder.itemHash);
    out.writeByte(decoder.eventType);
    out.writeLong(decoder.time);
    out.writeFloat(decoder.amount);
    out.writeUTF(decoder.message == null ? "" : decoder.message);
  }

  private byte[] readBytes() throws IOException {
    int length = in.readInt();
    return length < 0 ? null : in.readNBytes(length);
  }

  private void profile(long allowedLatenessMs, long expireAfterMs) throws IOException {
    byte[] profile = Profile.empty();
    for (int step = in.read(); step >= 0; step = in.read()) {
      Outcome outcome = Outcome.CONTROL;
      boolean asks = false;
      switch (step) {
        case 0 -> profile = in.readNBytes(Layout.BYTES);
        case 1 -> {
          long high = in.readLong();
          long low = in.readLong();
          long item = in.readLong();
          int type = in.read();
          outcome =
              Profile.apply(
                  profile,
                  high,
                  low,
                  item,
                  type,
                  in.readLong(),
                  in.readFloat(),
                  allowedLatenessMs,
                  expireAfterMs);
          asks = outcome == Outcome.APPLIED && Profile.asksForList(type);
        }
        case 2 -> asks = Profile.forget(profile, in.readLong());
        default -> {
          Profile.rerank(profile);
          asks = Profile.version(profile) > 0;
        }
      }
      out.writeByte(outcome.ordinal());
      out.writeBoolean(asks);
      out.write(profile);
    }
  }

  /** Holds on to all that was emitted, as an operator behind a buffer does. */
  private void function(long allowedLatenessMs, long expireAfterMs, String suspects)
      throws Exception {
    List<RowData> emitted = new ArrayList<>();
    RollingProfile function = new RollingProfile();
    function.open(context(allowedLatenessMs, expireAfterMs, suspects));
    function.setCollector(new ListCollector<>(emitted));
    MapView<Integer, byte[]> state = new MapView<>();
    for (int step = in.read(); step >= 0; step = in.read()) {
      function.eval(state, readRow(step));
    }
    for (RowData row : emitted) {
      byte[] request = row.getBinary(0);
      out.writeInt(request.length);
      out.write(request);
    }
  }

  private static FunctionContext context(
      long allowedLatenessMs, long expireAfterMs, String suspects) {
    Map<String, String> parameters =
        Map.of(
            "headrace.profile.allowed_lateness_ms", Long.toString(allowedLatenessMs),
            "headrace.profile.expire_after_ms", Long.toString(expireAfterMs),
            "headrace.job.epoch", "1",
            "headrace.audit", "false",
            "headrace.quarantine.folder", suspects);
    return context(parameters);
  }

  static FunctionContext context(Map<String, String> parameters) {
    return new FunctionContext(null) {
      @Override
      public String getJobParameter(String key, String otherwise) {
        return parameters.getOrDefault(key, otherwise);
      }
    };
  }

  private RowData readRow(int step) throws IOException {
    GenericRowData row = new GenericRowData(10);
    row.setField(1, (byte) (step - 1));
    if (step == 1) {
      row.setField(2, in.readLong());
      row.setField(3, in.readLong());
      row.setField(4, in.readLong());
      row.setField(5, in.readByte());
    }
    row.setField(6, step == 3 ? 0L : in.readLong());
    row.setField(7, step == 1 ? in.readFloat() : 0f);
    row.setField(8, 0);
    row.setField(9, 0L);
    return row;
  }

  private void names() throws IOException {
    for (Reason reason : Reason.values()) {
      out.writeBytes(reason.name() + "\n");
    }
    for (Outcome outcome : Outcome.values()) {
      out.writeBytes(outcome.label + "\n");
    }
  }
}
