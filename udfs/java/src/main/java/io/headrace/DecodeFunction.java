package io.headrace;

import static org.apache.flink.table.annotation.ArgumentTrait.PASS_COLUMNS_THROUGH;
import static org.apache.flink.table.annotation.ArgumentTrait.ROW_SEMANTIC_TABLE;

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
  private static final int COLUMNS = 10;
  private static final int REASON = 8;
  private static final int MESSAGE = 9;

  private transient Decoder decoder;
  private transient long maxValueBytes;
  private transient long minEventTimeMs;
  private transient long maxAheadMs;
  private transient Map<Reason, Counter> deadLetters;

  abstract Decoder newDecoder();

  @Override
  public void open(FunctionContext context) {
    JobParameters parameters = new JobParameters(context);
    maxValueBytes = parameters.number("decode.max_value_bytes");
    minEventTimeMs = parameters.number("decode.min_event_time_ms");
    maxAheadMs = parameters.number("decode.max_ahead_ms");
    decoder = newDecoder();
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
    Reason reason =
        decoder.decode(value, key, recordTimeMs, maxValueBytes, minEventTimeMs, maxAheadMs);
    collect(reason == null ? good(key) : bad(reason));
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

  private RowData bad(Reason reason) {
    deadLetters.get(reason).inc();
    GenericRowData row = new GenericRowData(COLUMNS);
    row.setField(REASON, StringData.fromString(reason.name()));
    row.setField(MESSAGE, StringData.fromString(decoder.message));
    return row;
  }
}
