package io.headrace;

/** What became of one good record. The same names as {@code schemas/reasons.py}, in capitals. */
public enum Outcome {
  APPLIED,
  DUPLICATE,
  LATE,
  FORGOTTEN,
  CONTROL;

  /** The name in the audit topic and in metrics. */
  public final String label = name().toLowerCase(java.util.Locale.ROOT);
}
