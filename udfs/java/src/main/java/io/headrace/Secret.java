package io.headrace;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Secrets travel as references to files and are read here, on the TaskManager. Not as variables of
 * the environment: Flink logs that of its Python part.
 */
final class Secret {
  private static final Pattern REFERENCE = Pattern.compile("\\$\\{file:(.+)}");

  private Secret() {}

  /**
   * @param reference {@code ${file:PATH}}, or empty for none
   */
  static String resolve(String reference) {
    if (reference.isEmpty()) {
      return "";
    }
    Matcher parts = REFERENCE.matcher(reference);
    if (!parts.matches()) {
      throw new IllegalStateException("expected ${file:PATH} for a secret");
    }
    String file = parts.group(1);
    try {
      return Files.readString(Path.of(file)).replaceFirst("[\\r\\n]+$", "");
    } catch (IOException e) {
      throw new IllegalStateException("expected a readable file " + file + " on the TaskManager", e);
    }
  }
}
