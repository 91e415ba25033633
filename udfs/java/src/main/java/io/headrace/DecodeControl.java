package io.headrace;

/** Decodes the control topic. */
public final class DecodeControl extends DecodeFunction {
  @Override
  Decoder newDecoder() {
    return Decoder.controls();
  }

  @Override
  int stage() {
    return FlightRecorder.CONTROL;
  }
}
