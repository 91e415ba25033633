package io.headrace;

import java.util.HashMap;
import java.util.Map;
import java.util.function.LongSupplier;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DatumReader;

/**
 * The writers' schemas by the id that Confluent's framing names, for one task.
 *
 * <p>An id means one schema for ever, so what was found is kept for ever. Everything under the
 * topic's subject is fetched when the task opens. An id met later is asked for once; one that the
 * registry does not know is not asked for again within {@link #UNKNOWN_FOR_MS}. There are {@link
 * #LOOKUPS_PER_MINUTE} look-ups a minute, as many again saved up; beyond that an id counts as
 * unknown without being asked for, so that a flood of made-up ids cannot become a flood of requests.
 *
 * <p>What this promises: the verdict on a record whose id was under the topic's subject when the
 * task opened depends on the record alone, and so does that on an id that is never registered. The
 * clock has a part only in the verdict on an id that is registered while the task runs, or under
 * another subject: its record is a dead letter, which can be sent again, if the same id was asked
 * for in vain less than {@link #UNKNOWN_FOR_MS} before, or if the look-ups are used up by made-up
 * ids. A registry that does not answer gives no verdict at all: the task fails.
 */
final class ConfluentSchemas {
  static final int LOOKUPS_PER_MINUTE = 60;
  static final long UNKNOWN_FOR_MS = 10_000;
  private static final long MS_PER_LOOKUP = 60_000 / LOOKUPS_PER_MINUTE;

  /** How to read what is written under an id, or why not. */
  record Writer(DatumReader<GenericRecord> reader, Reason reason, String message) {}

  private final Map<Integer, Writer> known = new HashMap<>();
  private final Map<Integer, Long> unknownUntil = new HashMap<>();
  private final SchemaRegistry registry;
  private final Schema reader;
  private final LongSupplier clockMs;

  /** When all look-ups used so far are made up for; at most a minute ahead. */
  private long paidUntil;

  /**
   * @param subject whose versions are fetched now
   * @param reader our newest schema
   * @param clockMs a clock that never goes back, in ms
   */
  ConfluentSchemas(SchemaRegistry registry, String subject, Schema reader, LongSupplier clockMs) {
    this.registry = registry;
    this.reader = reader;
    this.clockMs = clockMs;
    paidUntil = clockMs.getAsLong();
    for (SchemaRegistry.Version version : registry.versions(subject)) {
      known.put(version.id(), writer(version.id(), version.schema()));
    }
  }

  /** Never null; throws IllegalStateException if the registry gives no answer. */
  Writer find(int id) {
    Writer writer = known.get(id);
    return writer == null ? lookUp(id) : writer;
  }

  private Writer lookUp(int id) {
    long now = clockMs.getAsLong();
    unknownUntil.values().removeIf(until -> until <= now);
    if (id < 0 || unknownUntil.containsKey(id)) {
      return unknown(id, "the registry knows no schema ");
    }
    if (!takeLookup(now)) {
      return unknown(id, "too many unknown ids: not asked for schema ");
    }
    String schema = registry.schema(id);
    if (schema == null) {
      unknownUntil.put(id, now + UNKNOWN_FOR_MS);
      return unknown(id, "the registry knows no schema ");
    }
    Writer writer = writer(id, schema);
    known.put(id, writer);
    return writer;
  }

  private boolean takeLookup(long now) {
    long next = Math.max(paidUntil, now) + MS_PER_LOOKUP;
    if (next > now + LOOKUPS_PER_MINUTE * MS_PER_LOOKUP) {
      return false;
    }
    paidUntil = next;
    return true;
  }

  private static Writer unknown(int id, String message) {
    return new Writer(null, Reason.UNKNOWN_SCHEMA, message + Integer.toUnsignedString(id));
  }

  private Writer writer(int id, String json) {
    try {
      Schema writer = new Schema.Parser().parse(json);
      ForeignSchema.requireReadable(writer, reader);
      return new Writer(new GenericDatumReader<>(writer, reader), null, null);
    } catch (AvroRuntimeException e) {
      String why = e instanceof ForeignSchema.Refused ? e.getMessage() : "it is no Avro schema";
      String message = "schema " + id + " cannot be read as ours: " + why;
      return new Writer(null, Reason.INCOMPATIBLE_SCHEMA, message);
    }
  }
}
