package io.headrace;

import java.util.HashSet;
import java.util.Set;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;
import org.apache.avro.SchemaCompatibility.Incompatibility;
import org.apache.avro.SchemaCompatibility.SchemaPairCompatibility;

/**
 * Looks at a schema that somebody else registered, once, before anything is read with it.
 *
 * <p>What {@code schemas/lint.py} and {@code schemas/compatibility.py} refuse is refused here:
 * schemas with which a few bytes could cost the reader its stack or time, schemas that do not
 * resolve to ours, and fields that resolve although their logical type, and so their meaning, is
 * another.
 */
final class ForeignSchema {
  static final int MAX_DEPTH = 8;
  static final int MAX_TYPES = 1_000;

  /** Its message is short, of ASCII and holds no name from the schema. */
  static final class Refused extends AvroRuntimeException {
    Refused(String message) {
      super(message);
    }
  }

  private final Set<String> within = new HashSet<>();
  private int types;

  private ForeignSchema() {}

  static void requireReadable(Schema writer, Schema reader) {
    new ForeignSchema().leastBytes(writer, 0);
    SchemaPairCompatibility found =
        SchemaCompatibility.checkReaderWriterCompatibility(reader, writer);
    for (Incompatibility one : found.getResult().getIncompatibilities()) {
      throw new Refused(one.getType() + " at " + one.getLocation());
    }
    for (Schema.Field field : reader.getFields()) {
      Schema.Field written = writer.getField(field.name());
      if (written != null && !logicalTypes(field.schema()).equals(logicalTypes(written.schema()))) {
        throw new Refused("the logical type of " + field.name() + " is another");
      }
    }
  }

  private static Set<String> logicalTypes(Schema schema) {
    Set<String> found = new HashSet<>();
    for (Schema one : schema.isUnion() ? schema.getTypes() : Set.of(schema)) {
      if (one.getProp("logicalType") != null) {
        found.add(one.getProp("logicalType"));
      }
    }
    return found;
  }

  /** The fewest bytes that a value takes; named types are counted wherever they are used. */
  private long leastBytes(Schema schema, int depth) {
    refuseIf(++types > MAX_TYPES, "too many types");
    refuseIf(depth >= MAX_DEPTH, "nested too deeply");
    String logicalType = schema.getProp("logicalType");
    refuseIf("decimal".equals(logicalType) || "big-decimal".equals(logicalType), "a decimal");
    return switch (schema.getType()) {
      case NULL -> 0;
      case FLOAT -> Float.BYTES;
      case DOUBLE -> Double.BYTES;
      case FIXED -> schema.getFixedSize();
      case RECORD -> leastBytesOfRecord(schema, depth);
      case UNION -> {
        long least = Long.MAX_VALUE;
        for (Schema branch : schema.getTypes()) {
          least = Math.min(least, leastBytes(branch, depth + 1));
        }
        yield 1 + (schema.getTypes().isEmpty() ? 0 : least);
      }
      case ARRAY, MAP -> {
        boolean array = schema.getType() == Schema.Type.ARRAY;
        Schema part = array ? schema.getElementType() : schema.getValueType();
        refuseIf(leastBytes(part, depth + 1) < 1, "parts of no bytes");
        yield 1;
      }
      default -> 1;
    };
  }

  private long leastBytesOfRecord(Schema schema, int depth) {
    refuseIf(!within.add(schema.getFullName()), "recursion");
    long sum = 0;
    for (Schema.Field field : schema.getFields()) {
      sum += leastBytes(field.schema(), depth + 1);
    }
    within.remove(schema.getFullName());
    return sum;
  }

  private static void refuseIf(boolean dangerous, String why) {
    if (dangerous) {
      throw new Refused(why);
    }
  }
}
