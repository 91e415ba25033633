package io.headrace;

import com.dynatrace.hash4j.hashing.HashValue128;
import com.dynatrace.hash4j.hashing.Hashing;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.function.LongSupplier;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.util.Utf8;

/**
 * Turns the value and key of a Kafka record into the numbers that a profile is made of, or says why
 * not.
 *
 * <p>{@link #decode} never throws on data; without an answer of the schema registry it cannot judge
 * and throws. The writer's schema is found by {@link Writers} and resolved to the newest packed one.
 * The fields hold the result until the next call. One decoder serves one thread.
 */
public final class Decoder {
  static final int ID_LIMIT_BYTES = 128;
  private static final int ABSENT = -1;

  /** 0 event, 1 forget, 2 rerank. */
  public byte action;

  /** XXH3-128 of the id of the event or order. */
  public long hashHigh;

  public long hashLow;

  /** XXH3-64 of the item id, 0 for an order. */
  public long itemHash;

  /** Position of the symbol in the newest schema, 0 for an order. */
  public byte eventType;

  /** {@code event_time} or {@code as_of}, ms since 1970. */
  public long time;

  /** The event's {@code value}, 0 if absent. */
  public float amount;

  /** One line about the reason; holds sizes and numbers, never text of the record. Null if good. */
  public String message;

  private final Writers writers;
  private final StrictDecoder input = new StrictDecoder();
  private final String name;
  private final Schema schema;
  private final int user;
  private final int item;
  private final int id;
  private final int kind;
  private final int timestamp;
  private final int value;
  private final int propensity;
  private final int[] otherStrings;
  private GenericRecord record;

  /** The decoder of the events topic. */
  public static Decoder events() {
    List<String> versions = Writers.packed("user_event");
    return new Decoder("user_event", versions, "event_id", "event_type", "event_time");
  }

  /** The decoder of the control topic. */
  public static Decoder controls() {
    return new Decoder("control", Writers.packed("control"), "control_id", "action", "as_of");
  }

  /** Takes the schemas' JSON, oldest first. */
  Decoder(
      String name, List<String> versions, String idField, String kindField, String timeField) {
    this.name = name;
    List<Schema> schemas = versions.stream().map(json -> new Schema.Parser().parse(json)).toList();
    schema = schemas.get(schemas.size() - 1);
    writers = new Writers(schemas);
    user = position("user_id");
    item = position("item_id");
    id = position(idField);
    kind = position(kindField);
    timestamp = position(timeField);
    value = position("value");
    propensity = position("propensity");
    otherStrings =
        schema.getFields().stream()
            .mapToInt(Schema.Field::pos)
            .filter(at -> at != user && at != item && at != id)
            .toArray();
  }

  /** Reads Confluent's framing too, if the settings name a registry. */
  void useRegistry(JobParameters parameters, LongSupplier clockMs) {
    SchemaRegistry registry = SchemaRegistry.of(parameters);
    if (registry != null) {
      writers.lookUpIds(registry, parameters.text("registry.subject." + name), clockMs);
    }
  }

  /**
   * Judges one record; the checks run in the order in which the contract lists them.
   *
   * @param bytes the record's value, null for a tombstone
   * @param key the record's key, or null
   * @param recordTimeMs the Kafka timestamp of the record
   * @return null if the record is good, and then the fields hold it
   */
  public Reason decode(
      byte[] bytes,
      byte[] key,
      long recordTimeMs,
      long maxValueBytes,
      long minEventTimeMs,
      long maxAheadMs) {
    message = null;
    Reason reason = read(bytes, maxValueBytes);
    if (reason == null) {
      reason = checkKey(key);
    }
    if (reason == null) {
      reason = checkIds();
    }
    if (reason == null) {
      reason = checkTime(recordTimeMs, minEventTimeMs, maxAheadMs);
    }
    if (reason == null) {
      reason = checkNumbers();
    }
    if (reason == null) {
      reason = item == ABSENT ? takeOrder() : takeEvent();
    }
    return reason;
  }

  private Reason read(byte[] bytes, long maxValueBytes) {
    if (bytes == null) {
      return bad(Reason.NULL_VALUE, "the record has no value");
    }
    if (bytes.length > maxValueBytes) {
      return bad(Reason.OVERSIZE, bytes.length + " bytes, at most " + maxValueBytes);
    }
    Reason reason = writers.find(bytes);
    if (reason != null) {
      return bad(reason, writers.message);
    }
    input.reset(bytes, writers.bodyAt);
    try {
      record = writers.reader.read(record, input);
    } catch (IOException | RuntimeException e) {
      return bad(Reason.AVRO_DECODE_FAILED, e.getClass().getSimpleName());
    }
    if (!areWellFormed(otherStrings)) {
      return bad(Reason.AVRO_DECODE_FAILED, "a string is not UTF-8");
    }
    if (input.remaining() > 0) {
      return bad(Reason.TRAILING_BYTES, input.remaining() + " bytes after the record");
    }
    if (!input.isCanonical()) {
      return bad(Reason.NOT_CANONICAL, "no Avro writer writes these bytes");
    }
    return null;
  }

  private Reason checkKey(byte[] key) {
    if (key == null || key.length == 0) {
      return bad(Reason.MISSING_KEY, "the record has no key");
    }
    Utf8 name = (Utf8) record.get(user);
    if (!Arrays.equals(key, 0, key.length, name.getBytes(), 0, name.getByteLength())) {
      return bad(Reason.KEY_MISMATCH, "the key is not user_id");
    }
    return null;
  }

  private Reason checkIds() {
    Reason reason = checkId(user);
    if (reason == null && item != ABSENT) {
      reason = checkId(item);
    }
    return reason == null ? checkId(id) : reason;
  }

  private Reason checkId(int at) {
    Utf8 text = (Utf8) record.get(at);
    int length = text.getByteLength();
    if (length > ID_LIMIT_BYTES) {
      return bad(Reason.ID_TOO_LONG, fieldName(at) + " has " + length + " bytes, at most 128");
    }
    if (length == 0) {
      return bad(Reason.BAD_ID, fieldName(at) + " is empty");
    }
    if (hasControlCharacter(text)) {
      return bad(Reason.BAD_ID, fieldName(at) + " has a control character");
    }
    return isWellFormed(text) ? null : bad(Reason.BAD_ID, fieldName(at) + " is not UTF-8");
  }

  private Reason checkTime(long recordTimeMs, long minEventTimeMs, long maxAheadMs) {
    time = (long) record.get(timestamp);
    // In this order: a time that is not below the bound can be moved back without overflow.
    if (time < minEventTimeMs || time - maxAheadMs > recordTimeMs) {
      return bad(
          Reason.TIMESTAMP_OUT_OF_RANGE,
          fieldName(timestamp) + " " + time + " against record time " + recordTimeMs);
    }
    return null;
  }

  private Reason checkNumbers() {
    amount = (float) number(value);
    if (!Float.isFinite(amount)) {
      return bad(Reason.NON_FINITE, "value is not a finite 32-bit number");
    }
    if (!Double.isFinite(number(propensity))) {
      return bad(Reason.NON_FINITE, "propensity is not finite");
    }
    return null;
  }

  private Reason takeEvent() {
    action = 0;
    eventType = ordinal();
    Utf8 text = (Utf8) record.get(item);
    itemHash = Hashing.xxh3_64().hashBytesToLong(text.getBytes(), 0, text.getByteLength());
    hashId();
    return null;
  }

  private Reason takeOrder() {
    action = ordinal();
    if (action == 0) {
      return bad(Reason.UNKNOWN_ACTION, "the action is not one that this version knows");
    }
    eventType = 0;
    itemHash = 0;
    hashId();
    return null;
  }

  private void hashId() {
    Utf8 text = (Utf8) record.get(id);
    HashValue128 hash =
        Hashing.xxh3_128().hashBytesTo128Bits(text.getBytes(), 0, text.getByteLength());
    hashHigh = hash.getMostSignificantBits();
    hashLow = hash.getLeastSignificantBits();
  }

  private byte ordinal() {
    return (byte) schema.getFields().get(kind).schema().getEnumOrdinal(record.get(kind).toString());
  }

  private double number(int at) {
    Object number = at == ABSENT ? null : record.get(at);
    return number == null ? 0 : (double) number;
  }

  private Reason bad(Reason reason, String text) {
    message = text;
    return reason;
  }

  private int position(String name) {
    Schema.Field field = schema.getField(name);
    return field == null ? ABSENT : field.pos();
  }

  private String fieldName(int at) {
    return schema.getFields().get(at).name();
  }

  private boolean areWellFormed(int[] positions) {
    for (int at : positions) {
      if (record.get(at) instanceof Utf8 text && !isWellFormed(text)) {
        return false;
      }
    }
    return true;
  }

  private static boolean hasControlCharacter(Utf8 text) {
    byte[] bytes = text.getBytes();
    for (int i = 0; i < text.getByteLength(); i++) {
      if (bytes[i] >= 0 && bytes[i] < 0x20 || bytes[i] == 0x7F) {
        return true;
      }
    }
    return false;
  }

  private static boolean isWellFormed(Utf8 text) {
    byte[] bytes = text.getBytes();
    int length = text.getByteLength();
    for (int i = 0; i < length; i++) {
      if (bytes[i] < 0) {
        // Java reads what is malformed as U+FFFD, which is written as other bytes.
        String read = new String(bytes, 0, length, StandardCharsets.UTF_8);
        byte[] again = read.getBytes(StandardCharsets.UTF_8);
        return Arrays.equals(bytes, 0, length, again, 0, again.length);
      }
    }
    return true;
  }
}
