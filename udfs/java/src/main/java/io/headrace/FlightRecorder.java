package io.headrace;

import static java.nio.file.StandardOpenOption.APPEND;
import static java.nio.file.StandardOpenOption.CREATE;
import static java.nio.file.StandardOpenOption.READ;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;

/**
 * Finds the record that kills the JVM, by what was in flight when it died; for one task.
 *
 * <p>Idea, folders and names are explained in {@code udfs/flight_recorder.py}. A note of ours is a
 * memory-mapped file with one place:
 *
 * <pre>
 * offset  bytes  field
 *      0      4  stage      0 nothing in flight, 1 events, 2 control
 *      4      4  partition
 *      8      8  offset
 * </pre>
 *
 * <p>Flink closes no process table function, so the notes of a task that ended lie there, empty,
 * until another JVM looks for the dead.
 */
final class FlightRecorder {
  static final int EVENTS = 1;
  static final int CONTROL = 2;

  private static final List<String> STAGES = List.of("", "events", "control");
  private static final String SUFFIX = ".jsonl";
  private static final int STAGE_AT = 0;
  private static final int PARTITION_AT = 4;
  private static final int OFFSET_AT = 8;
  private static final int NOTE_BYTES = 16;
  private static final VarHandle STAGE =
      MethodHandles.byteBufferViewVarHandle(int[].class, ByteOrder.nativeOrder());

  /**
   * Begins the names of this JVM's notes. A lock cannot tell them from the notes of the dead: the
   * system drops a process's locks on a file as soon as the process closes any channel to it.
   */
  private static final String OURS =
      ProcessHandle.current().pid()
          + "."
          + ProcessHandle.current().info().startInstant().orElse(Instant.EPOCH).toEpochMilli()
          + ".";

  /** One for the whole JVM, whatever class loader this class came from. */
  private static final Object OPENING = "io.headrace.FlightRecorder".intern();

  private final String where;
  private final Path strikes;
  private final Path notes;
  private final FileChannel channel; // Its lock tells that we live.
  private final MappedByteBuffer note;
  private final Set<Place> suspects;
  private Place alone;

  /** Where a record lies: {@link #EVENTS} or {@link #CONTROL}, partition, offset. */
  record Place(int stage, int partition, long offset) {
    private String fileName(String where) {
      return String.join(
          "-", where, STAGES.get(stage), Integer.toString(partition), offset + SUFFIX);
    }

    private static Place of(String fileName) {
      String[] parts = fileName.substring(0, fileName.length() - SUFFIX.length()).split("-");
      return new Place(
          STAGES.indexOf(parts[1]), Integer.parseInt(parts[2]), Long.parseLong(parts[3]));
    }
  }

  /**
   * @param folder the same for all tasks of a job
   * @param where {@code decode} or {@code profile}: the function that is watched
   */
  FlightRecorder(Path folder, String where) {
    this.where = where;
    strikes = folder.resolve("strikes");
    notes = folder.resolve("in-flight");
    try {
      Files.createDirectories(strikes);
      Files.createDirectories(notes);
      synchronized (OPENING) {
        // One opens at a time: what it learns of the dead, the next one finds.
        try (FileChannel opening = open(folder.resolve("opening"))) {
          opening.lock();
          blameTheDead();
          channel = open(notes.resolve(where + "-" + OURS + UUID.randomUUID()));
          channel.lock();
        }
      }
      channel.write(ByteBuffer.allocate(NOTE_BYTES)); // A full disk must show now, not later.
      note = channel.map(MapMode.READ_WRITE, 0, NOTE_BYTES);
      note.order(ByteOrder.nativeOrder());
      suspects = failures(folder, where).keySet();
    } catch (IOException e) {
      throw new UncheckedIOException(
          "expected a folder that all TaskManagers share and may write to at "
              + folder
              + "; see job.quarantine_dir",
          e);
    }
  }

  /**
   * How often each suspect failed in a row.
   *
   * @param where the functions that it failed in begin like this; if it was several, the most counts
   */
  static Map<Place, Integer> failures(Path folder, String where) {
    Map<Place, Integer> found = new HashMap<>();
    try (DirectoryStream<Path> files =
        Files.newDirectoryStream(folder.resolve("strikes"), where + "*" + SUFFIX)) {
      for (Path file : files) {
        found.merge(Place.of(file.getFileName().toString()), lines(file), Math::max);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    found.values().removeIf(count -> count == 0);
    return found;
  }

  private static int lines(Path file) throws IOException {
    try {
      return Files.readAllLines(file).size();
    } catch (NoSuchFileException e) {
      return 0; // acquitted by another task just now
    }
  }

  /** The record is at work from now on. */
  void begin(int stage, int partition, long offset) {
    if (!suspects.isEmpty()) {
      accuse(new Place(stage, partition, offset));
    }
    note.putInt(PARTITION_AT, partition);
    note.putLong(OFFSET_AT, offset);
    STAGE.setRelease(note, STAGE_AT, stage); // after the other two
  }

  /** It did no harm, or what happened is not its fault. */
  void end() {
    STAGE.setRelease(note, STAGE_AT, 0);
    if (alone != null) {
      acquit();
    }
  }

  /** Something was thrown: a failure of the record that is at work, if one is. */
  void failed() {
    blame(where, placeIn(note));
    STAGE.setRelease(note, STAGE_AT, 0);
  }

  private void accuse(Place place) {
    if (suspects.remove(place)) {
      alone = place;
      strike(where, place);
    }
  }

  private void acquit() {
    try {
      Files.deleteIfExists(strikes.resolve(alone.fileName(where)));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    alone = null;
  }

  private void blameTheDead() throws IOException {
    try (DirectoryStream<Path> files =
        Files.newDirectoryStream(notes, FlightRecorder::isOfAnotherJvm)) {
      for (Path left : files) {
        try (FileChannel content = FileChannel.open(left, READ, WRITE)) {
          if (content.tryLock() != null) {
            ByteBuffer bytes = ByteBuffer.allocate(NOTE_BYTES).order(ByteOrder.nativeOrder());
            content.read(bytes);
            String name = left.getFileName().toString();
            blame(name.substring(0, name.indexOf('-')), placeIn(bytes));
            Files.delete(left);
          }
        }
      }
    }
  }

  private static boolean isOfAnotherJvm(Path note) {
    String name = note.getFileName().toString();
    return !name.startsWith("rank-") && !name.substring(name.indexOf('-') + 1).startsWith(OURS);
  }

  /** A strike for what was in flight, unless it was a suspect, which got it beforehand. */
  private void blame(String where, Place place) {
    if (place != null && Files.notExists(strikes.resolve(place.fileName(where)))) {
      strike(where, place);
    }
  }

  private void strike(String where, Place place) {
    String line =
        String.format(
            "{\"where\": \"%s\", \"stage\": \"%s\", \"partition\": %d, \"offset\": %d, \"at\": \"%s\"}%n",
            where,
            STAGES.get(place.stage),
            place.partition,
            place.offset,
            Instant.now().truncatedTo(ChronoUnit.MILLIS));
    try {
      Files.writeString(strikes.resolve(place.fileName(where)), line, CREATE, APPEND);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** What a note says; null if nothing was in flight. */
  private static Place placeIn(ByteBuffer note) {
    int stage = note.getInt(STAGE_AT);
    return stage == 0
        ? null
        : new Place(stage, note.getInt(PARTITION_AT), note.getLong(OFFSET_AT));
  }

  private static FileChannel open(Path file) throws IOException {
    return FileChannel.open(file, CREATE, READ, WRITE);
  }
}
