package io.headrace;

/** Decodes the events topic. */
public final class DecodeEvent extends DecodeFunction {
  @Override
  Decoder newDecoder() {
    return Decoder.events();
  }

  @Override
  int stage() {
    return FlightRecorder.EVENTS;
  }
}
