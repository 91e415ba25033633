package io.headrace;

import static org.apache.flink.table.annotation.ArgumentTrait.PASS_COLUMNS_THROUGH;
import static org.apache.flink.table.annotation.ArgumentTrait.ROW_SEMANTIC_TABLE;

import io.headrace.FlightRecorder.Place;
import java.nio.file.Path;
import java.util.EnumMap;
import java.util.Map;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.table.annotation.ArgumentHint;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ProcessTableFunction;

/**
 * One Kafka record in, the same record out with ten more columns: either the numbers of a good
 * record, or its reason and message.
 *
 * <p>Rows are Flink's internal ones, which spares a conversion per field. Events and orders have
 * the same columns, so that their streams can be united. A process table function, though it keeps
 * no state: a table function behind LATERAL would be run once for each sink that reads its rows,
 * because the planner does not recognise two correlations as one.
 */
@DataTypeHint(
    value =
        "ROW<user_id STRING, action TINYINT, event_hash_high BIGINT, event_hash_low BIGINT,"
            + " item_hash BIGINT, event_type TINYINT, event_time BIGINT, amount FLOAT,"
            + " reason STRING, message STRING>",
    bridgedTo = RowData.class)
public abstract class DecodeFunction extends ProcessTableFunction<RowData> {
  private static final long NANOS_PER_MS = 1_000_000;
  private static final int COLUMNS = 10;
  private static final int REASON = 8;
  private static final int MESSAGE = 9;

  private transient Decoder decoder;
  private transient long maxValueBytes;
  private transient long minEventTimeMs;
  private transient long maxAheadMs;
  private transient Map<Reason, Counter> deadLetters;
  private transient FlightRecorder recorder;
  private transient Map<Place, Integer> quarantined;

  abstract Decoder newDecoder();

  /** {@link FlightRecorder#EVENTS} or {@link FlightRecorder#CONTROL}. */
  abstract int stage();

  @Override
  public void open(FunctionContext context) {
    JobParameters parameters = new JobParameters(context);
    maxValueBytes = parameters.number("decode.max_value_bytes");
    minEventTimeMs = parameters.number("decode.min_event_time_ms");
    maxAheadMs = parameters.number("decode.max_ahead_ms");
    decoder = newDecoder();
    decoder.useRegistry(parameters, () -> System.nanoTime() / NANOS_PER_MS);
    Path suspects = Path.of(parameters.text("quarantine.folder"));
    recorder = new FlightRecorder(suspects, "decode");
    quarantined = FlightRecorder.failures(suspects, "");
    long enough = parameters.number("job.quarantine_after");
    quarantined.values().removeIf(failures -> failures < enough);
    deadLetters = new EnumMap<>(Reason.class);
    MetricGroup group = context.getMetricGroup().addGroup("headrace");
    for (Reason reason : Reason.values()) {
      deadLetters.put(reason, group.addGroup("reason", reason.name()).counter("dead_letters"));
    }
  }

  /**
   * @param input the Kafka record
   */
  public void eval(
      @ArgumentHint(
              value = {ROW_SEMANTIC_TABLE, PASS_COLUMNS_THROUGH},
              name = "input",
              type =
                  @DataTypeHint(
                      value =
                          "ROW<record_key BYTES, record_value BYTES, topic STRING,"
                              + " `partition` INT, `offset` BIGINT, `timestamp` TIMESTAMP_LTZ(3)>",
                      bridgedTo = RowData.class))
          RowData input) {
    byte[] key = input.isNullAt(0) ? null : input.getBinary(0);
    byte[] value = input.isNullAt(1) ? null : input.getBinary(1);
    long recordTimeMs =
        input.isNullAt(5) ? Long.MIN_VALUE : input.getTimestamp(5, 3).getMillisecond();
    int partition = input.getInt(3);
    long offset = input.getLong(4);
    Integer failures = failuresOf(partition, offset);
    if (failures != null) {
      collect(bad(Reason.QUARANTINED, "the job failed at it " + failures + " times in a row"));
      return;
    }
    recorder.begin(stage(), partition, offset);
    Reason reason = decode(key, value, recordTimeMs);
    recorder.end();
    collect(reason == null ? good(key) : bad(reason, decoder.message));
  }

  /** How often the job failed at a record that is quarantined; null if it is not. */
  private Integer failuresOf(int partition, long offset) {
    return quarantined.isEmpty() ? null : quarantined.get(new Place(stage(), partition, offset));
  }

  private Reason decode(byte[] key, byte[] value, long recordTimeMs) {
    try {
      return decoder.decode(value, key, recordTimeMs, maxValueBytes, minEventTimeMs, maxAheadMs);
    } catch (IllegalStateException e) {
      recorder.end(); // The registry gave no answer, which is not the record's fault.
      throw e;
    } catch (RuntimeException | Error e) {
      recorder.failed();
      throw e;
    }
  }

  private RowData good(byte[] key) {
    return GenericRowData.of(
        StringData.fromBytes(key), // equal to user_id
        decoder.action,
        decoder.hashHigh,
        decoder.hashLow,
        decoder.itemHash,
        decoder.eventType,
        decoder.time,
        decoder.amount,
        null,
        null);
  }

  private RowData bad(Reason reason, String message) {
    deadLetters.get(reason).inc();
    GenericRowData row = new GenericRowData(COLUMNS);
    row.setField(REASON, StringData.fromString(reason.name()));
    row.setField(MESSAGE, StringData.fromString(message));
    return row;
  }
}
