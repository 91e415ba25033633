package io.headrace;

/**
 * Why a record is a dead letter, in the order in which the checks run.
 *
 * <p>The same names as in {@code schemas/reasons.py}.
 */
public enum Reason {
  QUARANTINED,
  NULL_VALUE,
  OVERSIZE,
  INVALID_MAGIC_BYTE,
  UNKNOWN_SCHEMA,
  INCOMPATIBLE_SCHEMA,
  AVRO_DECODE_FAILED,
  TRAILING_BYTES,
  NOT_CANONICAL,
  MISSING_KEY,
  KEY_MISMATCH,
  ID_TOO_LONG,
  BAD_ID,
  TIMESTAMP_OUT_OF_RANGE,
  NON_FINITE,
  UNKNOWN_ACTION
}
