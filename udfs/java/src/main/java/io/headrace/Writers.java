package io.headrace;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.LongSupplier;
import org.apache.avro.Schema;
import org.apache.avro.SchemaNormalization;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DatumReader;

/**
 * Finds, by the first bytes of a value, how to read the rest.
 *
 * <pre>
 * C3 01  fingerprint u8   Avro's single-object encoding: a packed schema
 * 00     id u4, big-endian  Confluent's framing: a schema of the registry, if there is one
 * </pre>
 *
 * <p>No schema is ever taken from a record. The fields hold what was found until the next call.
 */
final class Writers {
  private static final byte MAGIC_0 = (byte) 0xC3;
  private static final byte MAGIC_1 = 0x01;
  private static final int FINGERPRINT_AT = 2;
  private static final int BODY_AT = 10;
  private static final int ID_AT = 1;
  private static final int CONFLUENT_BODY_AT = 5;

  DatumReader<GenericRecord> reader;

  /** Where the record begins. */
  int bodyAt;

  /** One line about the reason. */
  String message;

  private final Map<Long, DatumReader<GenericRecord>> byFingerprint = new HashMap<>();
  private final Schema newest;
  private ConfluentSchemas byId;

  /**
   * @param versions the packed schemas, oldest first
   */
  Writers(List<Schema> versions) {
    newest = versions.get(versions.size() - 1);
    for (Schema writer : versions) {
      long fingerprint = SchemaNormalization.parsingFingerprint64(writer);
      byFingerprint.put(fingerprint, new GenericDatumReader<>(writer, newest));
    }
  }

  /** From now on Confluent's framing is read too. */
  void lookUpIds(SchemaRegistry registry, String subject, LongSupplier clockMs) {
    byId = new ConfluentSchemas(registry, subject, newest, clockMs);
  }

  /** Why the value cannot be read, or null. */
  Reason find(byte[] value) {
    if (byId != null && value.length >= CONFLUENT_BODY_AT && value[0] == 0) {
      return findById(Integer.reverseBytes((int) Layout.I4.get(value, ID_AT)));
    }
    if (value.length < BODY_AT || value[0] != MAGIC_0 || value[1] != MAGIC_1) {
      String starts = byId == null ? "C3 01" : "C3 01 or 00";
      message = value.length + " bytes that do not begin with " + starts;
      return Reason.INVALID_MAGIC_BYTE;
    }
    long fingerprint = (long) Layout.I8.get(value, FINGERPRINT_AT);
    reader = byFingerprint.get(fingerprint);
    bodyAt = BODY_AT;
    message = reader == null ? "no schema has fingerprint " + Long.toHexString(fingerprint) : null;
    return reader == null ? Reason.UNKNOWN_SCHEMA : null;
  }

  private Reason findById(int id) {
    ConfluentSchemas.Writer writer = byId.find(id);
    reader = writer.reader();
    bodyAt = CONFLUENT_BODY_AT;
    message = writer.message();
    return writer.reason();
  }

  /** The versions of a schema packed into the jar, oldest first. */
  static List<String> packed(String name) {
    List<String> versions = new ArrayList<>();
    for (int version = 1; ; version++) {
      String resource = name + ".v" + version + ".avsc";
      try (InputStream in = Writers.class.getResourceAsStream(resource)) {
        if (in == null) {
          return versions;
        }
        versions.add(new String(in.readAllBytes(), StandardCharsets.UTF_8));
      } catch (IOException e) {
        throw new UncheckedIOException(resource, e);
      }
    }
  }
}
