package io.headrace;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.data.GenericMapData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.TableFunction;

/**
 * Packs a refused record as it came, with headers that say where it came from and why it was
 * refused.
 *
 * <p>A key or value above the limit is cut to that many bytes, and its SHA-256 and whole length are
 * added as headers; the original is at its source offset. The limit holds for each of the two, and
 * the settings allow 500,000, so that both fit into 1 MiB, a producer's default for one record.
 */
@FunctionHint(
    output =
        @DataTypeHint(
            value = "ROW<record_key BYTES, record_value BYTES, headers MAP<STRING, BYTES>>",
            bridgedTo = RowData.class))
public final class DeadLetter extends TableFunction<RowData> {
  private transient int limitBytes;

  @Override
  public void open(FunctionContext context) {
    limitBytes = (int) new JobParameters(context).number("decode.dead_letter_limit_bytes");
  }

  public void eval(
      String topic,
      Integer partition,
      Long offset,
      @DataTypeHint(value = "TIMESTAMP_LTZ(3)", bridgedTo = Long.class) Long timestampMs,
      byte[] key,
      byte[] value,
      String stage,
      String reason,
      String message) {
    Map<StringData, byte[]> headers = new HashMap<>();
    put(headers, "dlq.topic", topic);
    put(headers, "dlq.partition", partition);
    put(headers, "dlq.offset", offset);
    put(headers, "dlq.timestamp", timestampMs);
    put(headers, "dlq.stage", stage);
    put(headers, "dlq.reason", reason);
    put(headers, "dlq.message", message);
    byte[] shortKey = cut(key, limitBytes, headers, "dlq.key.");
    byte[] shortValue = cut(value, limitBytes, headers, "dlq.");
    collect(GenericRowData.of(shortKey, shortValue, new GenericMapData(headers)));
  }

  private static byte[] cut(
      byte[] bytes, int limitBytes, Map<StringData, byte[]> headers, String prefix) {
    if (bytes == null || bytes.length <= limitBytes) {
      return bytes;
    }
    put(headers, prefix + "sha256", HexFormat.of().formatHex(sha256(bytes)));
    put(headers, prefix + "bytes", bytes.length);
    return Arrays.copyOf(bytes, limitBytes);
  }

  private static void put(Map<StringData, byte[]> headers, String name, Object content) {
    if (content != null) {
      headers.put(
          StringData.fromString(name), content.toString().getBytes(StandardCharsets.UTF_8));
    }
  }

  private static byte[] sha256(byte[] bytes) {
    try {
      return MessageDigest.getInstance("SHA-256").digest(bytes);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java has SHA-256", e);
    }
  }
}
