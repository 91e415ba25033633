package io.headrace;

import static org.apache.flink.table.annotation.ArgumentTrait.SET_SEMANTIC_TABLE;

import java.util.EnumMap;
import java.util.Map;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.table.annotation.ArgumentHint;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.StateHint;
import org.apache.flink.table.api.dataview.MapView;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ProcessTableFunction;

/**
 * Folds one user's events and orders into a packed profile and emits it when a list is due.
 *
 * <p>The rules are in {@link Profile}. The state is one {@code byte[]} that is never changed once
 * it was emitted or stored: every record works on a copy. With {@code audit}, records that ask for
 * no list give a row of action {@code none}, so that every input has a row.
 *
 * <p>Two things make the state cheap to reach, together a factor of four in records a second. It
 * stands alone in a map view: of a plain state entry Flink hashes old and new at every record to
 * see whether it changed, which it always did. And its time to live is 0, for none: left out, Flink
 * means for ever, and looks for expired users at every access.
 */
@DataTypeHint(
    value =
        "ROW<action STRING, profile BYTES, user_epoch BIGINT, cause STRING, event_time BIGINT,"
            + " source_partition INT, source_offset BIGINT, outcome STRING>",
    bridgedTo = RowData.class)
public final class RollingProfile extends ProcessTableFunction<RowData> {
  private static final byte EVENT = 0;
  private static final byte FORGET = 1;
  private static final Integer ONLY = 0;

  private static final StringData LIST = StringData.fromString("list");
  private static final StringData TOMBSTONE = StringData.fromString("tombstone");
  private static final StringData NONE = StringData.fromString("none");
  private static final StringData CAUSE_EVENT = StringData.fromString("event");
  private static final StringData CAUSE_RERANK = StringData.fromString("rerank");

  private transient Map<Outcome, Counter> counters;
  private transient Map<Outcome, StringData> labels;

  @Override
  public void open(FunctionContext context) {
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
          RowData input,
      @ArgumentHint(name = "allowed_lateness_ms") long allowedLatenessMs,
      @ArgumentHint(name = "expire_after_ms") long expireAfterMs,
      @ArgumentHint(name = "audit") boolean audit)
      throws Exception {
    byte[] former = profiles.get(ONLY);
    byte[] profile = former == null ? Profile.empty() : former.clone();
    byte action = input.getByte(1);
    if (action == EVENT) {
      applyEvent(profile, input, allowedLatenessMs, expireAfterMs, audit);
    } else {
      applyOrder(profile, input, action == FORGET, audit);
    }
    profiles.put(ONLY, profile);
  }

  private void applyEvent(
      byte[] profile, RowData input, long allowedLatenessMs, long expireAfterMs, boolean audit) {
    int type = input.getByte(5);
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
    boolean due = outcome == Outcome.APPLIED && Profile.asksForList(type);
    emit(due ? LIST : NONE, profile, CAUSE_EVENT, input, outcome, audit);
  }

  private void applyOrder(byte[] profile, RowData input, boolean forget, boolean audit) {
    if (forget) {
      boolean erased = Profile.forget(profile, input.getLong(6));
      emit(erased ? TOMBSTONE : NONE, profile, null, input, Outcome.CONTROL, audit);
    } else {
      Profile.rerank(profile);
      boolean known = Profile.version(profile) > 0;
      emit(known ? LIST : NONE, profile, CAUSE_RERANK, input, Outcome.CONTROL, audit);
    }
  }

  private void emit(
      StringData action,
      byte[] profile,
      StringData cause,
      RowData input,
      Outcome outcome,
      boolean audit) {
    counters.get(outcome).inc();
    if (action == NONE && !audit) {
      return;
    }
    collect(
        GenericRowData.of(
            action,
            action == NONE ? null : profile,
            Profile.userEpoch(profile),
            cause,
            input.getLong(6),
            input.getInt(8),
            input.getLong(9),
            labels.get(outcome)));
  }
}
