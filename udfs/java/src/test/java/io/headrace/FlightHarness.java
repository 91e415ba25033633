package io.headrace;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.functions.util.ListCollector;
import org.apache.flink.table.api.dataview.MapView;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.functions.ProcessTableFunction;

/**
 * Lets pytest kill the JVM amid the work of a function. {@code tests/udfs/test_java_recorder.py} is
 * the other side. Records have the offsets 0, 1, … of partition 3.
 *
 * <pre>
 * profile FOLDER RECORDS KILLER halt|throw
 *   folds events; at the KILLER's offset (-1 for none) the JVM halts, or the fold throws
 * decode FOLDER RECORDS QUARANTINE_AFTER REGISTRY_URL
 *   decodes values in Confluent's framing, the schema's id being the offset; writes a line for each
 *   record: reason, message
 * cost FOLDER
 *   writes the nanoseconds that a record costs, without suspects
 * </pre>
 */
public final class FlightHarness {
  private static final int PARTITION = 3;

  public static void main(String[] args) throws Exception {
    switch (args[0]) {
      case "profile" -> profile(
          args[1], Integer.parseInt(args[2]), Long.parseLong(args[3]), args[4].equals("halt"));
      case "decode" -> decode(args[1], Integer.parseInt(args[2]), args[3], args[4]);
      case "cost" -> cost(Path.of(args[1]));
      default -> throw new IllegalArgumentException(args[0]);
    }
  }

  private static void profile(String folder, int records, long killer, boolean halt)
      throws Exception {
    RollingProfile function = new RollingProfile();
    function.open(
        Harness.context(
            Map.of(
                "headrace.profile.allowed_lateness_ms", "0",
                "headrace.profile.expire_after_ms", "1",
                "headrace.job.epoch", "1",
                "headrace.audit", "false",
                "headrace.quarantine.folder", folder)));
    List<RowData> emitted = collecting(function);
    MapView<Integer, byte[]> state = new MapView<>();
    for (long offset = 0; offset < records; offset++) {
      RowData row =
          GenericRowData.of(
              null, (byte) 0, offset, offset, 7L, (byte) 2, offset, 0f, PARTITION, offset);
      function.eval(state, offset == killer ? deadly(row, halt) : row);
    }
    System.out.println(emitted.size());
  }

  /** A row that ends the JVM, or throws, when the fold reads the event's value. */
  private static RowData deadly(RowData row, boolean halt) {
    return (RowData)
        Proxy.newProxyInstance(
            FlightHarness.class.getClassLoader(),
            new Class<?>[] {RowData.class},
            (proxy, method, arguments) -> {
              if (method.getName().equals("getFloat")) {
                if (halt) {
                  Runtime.getRuntime().halt(137);
                }
                throw new ArithmeticException("deadly");
              }
              try {
                return method.invoke(row, arguments);
              } catch (InvocationTargetException e) {
                throw e.getCause();
              }
            });
  }

  private static void decode(String folder, int records, String after, String url)
      throws Exception {
    DecodeEvent function = new DecodeEvent();
    function.open(
        Harness.context(
            Map.of(
                "headrace.decode.max_value_bytes", "1000",
                "headrace.decode.min_event_time_ms", "0",
                "headrace.decode.max_ahead_ms", "0",
                "headrace.job.quarantine_after", after,
                "headrace.quarantine.folder", folder,
                "headrace.registry.url", url,
                "headrace.registry.answer_ms", "60000",
                "headrace.registry.subject.user_event", "events-value")));
    List<RowData> decoded = collecting(function);
    for (int offset = 0; offset < records; offset++) {
      byte[] value = {0, 0, 0, 0, (byte) offset, 0};
      function.eval(
          GenericRowData.of(
              new byte[] {'u'},
              value,
              StringData.fromString("events"),
              PARTITION,
              (long) offset,
              TimestampData.fromEpochMillis(0)));
    }
    for (RowData row : decoded) {
      System.out.println(row.getString(8) + ", " + row.getString(9));
    }
  }

  private static List<RowData> collecting(ProcessTableFunction<RowData> function) {
    List<RowData> rows = new ArrayList<>();
    function.setCollector(new ListCollector<>(rows));
    return rows;
  }

  private static void cost(Path folder) {
    FlightRecorder recorder = new FlightRecorder(folder, "decode");
    int records = 100_000_000;
    long started = 0;
    for (int record = -records; record < records; record++) { // the first half to warm up
      if (record == 0) {
        started = System.nanoTime();
      }
      recorder.begin(FlightRecorder.EVENTS, PARTITION, record);
      recorder.end();
    }
    System.out.println((double) (System.nanoTime() - started) / records);
  }
}
