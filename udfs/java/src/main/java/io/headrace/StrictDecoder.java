package io.headrace;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import org.apache.avro.io.Decoder;
import org.apache.avro.util.Utf8;

/**
 * Avro's binary encoding, read from bytes that nobody vouches for.
 *
 * <p>Two things are not to be had from Avro's own decoder. It never takes more memory than the
 * value is long: Avro allocates what a string's length claims, so that twenty bytes may ask for 2
 * GB. And it notes whether the value is the one that an Avro writer would have written, which saves
 * writing it again to compare: numbers in their shortest form, booleans 0 or 1, arrays and maps in
 * one block.
 */
final class StrictDecoder extends Decoder {
  private byte[] bytes = {};
  private int position;
  private boolean canonical;

  void reset(byte[] value, int offset) {
    bytes = value;
    position = offset;
    canonical = true;
  }

  int remaining() {
    return bytes.length - position;
  }

  boolean isCanonical() {
    return canonical;
  }

  /** Moves past {@code length} bytes and returns where they start. */
  private int take(long length) throws EOFException {
    if (length < 0 || length > remaining()) {
      throw new EOFException();
    }
    int start = position;
    position += (int) length;
    return start;
  }

  /** Reads 7 bits a byte, lowest first; bits beyond {@code size} are dropped, as Avro does. */
  private long readVarint(int size) throws IOException {
    long result = 0;
    for (int shift = 0; shift < size; shift += 7) {
      byte next = bytes[take(1)];
      result |= (next & 0x7FL) << shift;
      if (next >= 0) {
        boolean padded = next == 0 && shift > 0;
        boolean tooBig = size - shift < 7 && next >>> (size - shift) != 0;
        canonical &= !padded && !tooBig;
        return result;
      }
    }
    throw new IOException("a number of more than " + size + " bits");
  }

  @Override
  public int readInt() throws IOException {
    int n = (int) readVarint(Integer.SIZE);
    return (n >>> 1) ^ -(n & 1);
  }

  @Override
  public long readLong() throws IOException {
    long n = readVarint(Long.SIZE);
    return (n >>> 1) ^ -(n & 1);
  }

  @Override
  public void readNull() {}

  @Override
  public boolean readBoolean() throws IOException {
    byte b = bytes[take(1)];
    canonical &= b == 0 || b == 1;
    return b == 1;
  }

  @Override
  public float readFloat() throws IOException {
    return (float) Layout.F4.get(bytes, take(Float.BYTES));
  }

  @Override
  public double readDouble() throws IOException {
    return (double) Layout.F8.get(bytes, take(Double.BYTES));
  }

  @Override
  public Utf8 readString(Utf8 old) throws IOException {
    long length = readLong();
    int start = take(length);
    Utf8 result = old == null ? new Utf8() : old;
    result.setByteLength((int) length);
    System.arraycopy(bytes, start, result.getBytes(), 0, (int) length);
    return result;
  }

  @Override
  public String readString() throws IOException {
    long length = readLong();
    return new String(bytes, take(length), (int) length, StandardCharsets.UTF_8);
  }

  @Override
  public ByteBuffer readBytes(ByteBuffer old) throws IOException {
    long length = readLong();
    return ByteBuffer.wrap(bytes, take(length), (int) length).slice();
  }

  @Override
  public void skipString() throws IOException {
    take(readLong());
  }

  @Override
  public void skipBytes() throws IOException {
    take(readLong());
  }

  @Override
  public void readFixed(byte[] target, int start, int length) throws IOException {
    System.arraycopy(bytes, take(length), target, start, length);
  }

  @Override
  public void skipFixed(int length) throws IOException {
    take(length);
  }

  @Override
  public int readEnum() throws IOException {
    return readInt();
  }

  @Override
  public int readIndex() throws IOException {
    return readInt();
  }

  /** The number of entries in the next block; an entry takes at least no byte, so bound it. */
  private long readBlock() throws IOException {
    long count = readLong();
    if (count < 0) {
      canonical = false; // a block with its size in bytes
      readLong();
      count = -count;
    }
    if (count < 0 || count > remaining()) {
      throw new EOFException();
    }
    return count;
  }

  private long readNextBlock() throws IOException {
    long count = readBlock();
    canonical &= count == 0;
    return count;
  }

  @Override
  public long readArrayStart() throws IOException {
    return readBlock();
  }

  @Override
  public long arrayNext() throws IOException {
    return readNextBlock();
  }

  @Override
  public long skipArray() throws IOException {
    return readBlock();
  }

  @Override
  public long readMapStart() throws IOException {
    return readBlock();
  }

  @Override
  public long mapNext() throws IOException {
    return readNextBlock();
  }

  @Override
  public long skipMap() throws IOException {
    return readBlock();
  }
}
