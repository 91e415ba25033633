package io.headrace;

import static org.apache.flink.table.annotation.ArgumentTrait.SET_SEMANTIC_TABLE;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.EnumMap;
import java.util.Map;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.table.annotation.ArgumentHint;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.StateHint;
import org.apache.flink.table.api.dataview.MapView;
import org.apache.flink.table.data.GenericMapData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.MapData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ProcessTableFunction;

/**
 * Folds one user's events and orders into a packed profile and emits a {@link Request} when a list
 * is due.
 *
 * <p>The rules are in {@link Profile}. The state is one {@code byte[]}, changed in place; whoever
 * is downstream gets a copy. A tombstone has no value to say which profile it ended, so its epochs
 * travel as headers. With {@code audit}, every input has a row, if only with its outcome.
 *
 * <p>Two things make the state cheap to reach, together a factor of four in records a second. It
 * stands alone in a map view: of a plain state entry Flink hashes old and new at every record to
 * see whether it changed, which it always did. And its time to live is 0, for none: left out, Flink
 * means for ever, and looks for expired users at every access.
 */
@DataTypeHint(
    value =
        "ROW<request BYTES, headers MAP<STRING, BYTES>, outcome STRING, source_partition INT,"
            + " source_offset BIGINT>",
    bridgedTo = RowData.class)
public final class RollingProfile extends ProcessTableFunction<RowData> {
  private static final byte EVENT = 0;
  private static final byte FORGET = 1;
  private static final Integer ONLY = 0;

  private transient Map<Outcome, Counter> counters;
  private transient Map<Outcome, StringData> labels;
  private transient long allowedLatenessMs;
  private transient long expireAfterMs;
  private transient long jobEpoch;
  private transient boolean audit;
  private transient FlightRecorder recorder;

  @Override
  public void open(FunctionContext context) {
    JobParameters parameters = new JobParameters(context);
    allowedLatenessMs = parameters.number("profile.allowed_lateness_ms");
    expireAfterMs = parameters.number("profile.expire_after_ms");
    jobEpoch = parameters.number("job.epoch");
    audit = parameters.flag("audit");
    recorder = new FlightRecorder(Path.of(parameters.text("quarantine.folder")), "profile");
    counters = new EnumMap<>(Outcome.class);
    labels = new EnumMap<>(Outcome.class);
    MetricGroup group = context.getMetricGroup().addGroup("headrace");
    for (Outcome outcome : Outcome.values()) {
      counters.put(outcome, group.addGroup("outcome", outcome.label).counter("records"));
      labels.put(outcome, StringData.fromString(outcome.label));
    }
  }

  public void eval(
      @StateHint(ttl = "0") MapView<Integer, byte[]> profiles,
      @ArgumentHint(
              value = SET_SEMANTIC_TABLE,
              name = "input",
              type =
                  @DataTypeHint(
                      value =
                          "ROW<user_id STRING, action TINYINT, event_hash_high BIGINT,"
                              + " event_hash_low BIGINT, item_hash BIGINT, event_type TINYINT,"
                              + " event_time BIGINT, amount FLOAT, source_partition INT,"
                              + " source_offset BIGINT>",
                      bridgedTo = RowData.class))
          RowData input)
      throws Exception {
    byte[] known = profiles.get(ONLY);
    byte[] profile = known == null ? Profile.empty() : known;
    try {
      apply(profile, input);
    } catch (RuntimeException | Error e) {
      recorder.failed();
      throw e;
    }
    profiles.put(ONLY, profile);
  }

  private void apply(byte[] profile, RowData input) {
    byte action = input.getByte(1);
    if (action == EVENT) {
      applyEvent(profile, input);
    } else if (action == FORGET) {
      forget(profile, input);
    } else {
      rerank(profile, input);
    }
  }

  private void applyEvent(byte[] profile, RowData input) {
    int type = input.getByte(5);
    recorder.begin(FlightRecorder.EVENTS, input.getInt(8), input.getLong(9));
    Outcome outcome =
        Profile.apply(
            profile,
            input.getLong(2),
            input.getLong(3),
            input.getLong(4),
            type,
            input.getLong(6),
            input.getFloat(7),
            allowedLatenessMs,
            expireAfterMs);
    recorder.end();
    boolean due = outcome == Outcome.APPLIED && Profile.asksForList(type);
    emit(due ? Request.LIST : Request.NONE, Request.EVENT, profile, outcome, input);
  }

  private void forget(byte[] profile, RowData input) {
    recorder.begin(FlightRecorder.CONTROL, input.getInt(8), input.getLong(9));
    boolean erased = Profile.forget(profile, input.getLong(6));
    recorder.end();
    byte action = erased ? Request.TOMBSTONE : Request.NONE;
    emit(action, Request.NONE, profile, Outcome.CONTROL, input);
  }

  private void rerank(byte[] profile, RowData input) {
    recorder.begin(FlightRecorder.CONTROL, input.getInt(8), input.getLong(9));
    Profile.rerank(profile);
    recorder.end();
    byte action = Profile.version(profile) > 0 ? Request.LIST : Request.NONE;
    emit(action, Request.RERANK, profile, Outcome.CONTROL, input);
  }

  private void emit(byte action, byte cause, byte[] profile, Outcome outcome, RowData input) {
    counters.get(outcome).inc();
    if (action == Request.NONE && !audit) {
      return;
    }
    long eventTimeMs = input.getLong(6);
    int partition = input.getInt(8);
    long offset = input.getLong(9);
    collect(
        GenericRowData.of(
            Request.of(action, cause, partition, offset, eventTimeMs, profile),
            action == Request.TOMBSTONE ? epochs(profile) : null,
            labels.get(outcome),
            partition,
            offset));
  }

  private MapData epochs(byte[] profile) {
    return new GenericMapData(
        Map.of(
            StringData.fromString("user_epoch"),
            Long.toString(Profile.userEpoch(profile)).getBytes(StandardCharsets.UTF_8),
            StringData.fromString("job_epoch"),
            Long.toString(jobEpoch).getBytes(StandardCharsets.UTF_8)));
  }
}
