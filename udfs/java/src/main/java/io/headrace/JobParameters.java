package io.headrace;

import org.apache.flink.table.functions.FunctionContext;

/**
 * The settings that functions need. They travel as the job's parameters, not as arguments in SQL,
 * so that one compiled plan serves every setting. {@code pipeline/job.py} writes them.
 */
final class JobParameters {
  private final FunctionContext context;

  JobParameters(FunctionContext context) {
    this.context = context;
  }

  /** A whole number, by the dotted name of the setting. */
  long number(String setting) {
    return Long.parseLong(text(setting));
  }

  /** A switch, by the dotted name of the setting. */
  boolean flag(String setting) {
    return Boolean.parseBoolean(text(setting));
  }

  /** A setting that may be left out. */
  String text(String setting, String otherwise) {
    return context.getJobParameter("headrace." + setting, otherwise);
  }

  /** A text, by the dotted name of the setting. */
  String text(String setting) {
    String value = text(setting, null);
    if (value == null) {
      throw new IllegalStateException(
          "expected the job parameter headrace."
              + setting
              + "; received none; submit the job with `headrace`, which sets it");
    }
    return value;
  }
}
