package io.headrace;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Secrets travel as references and are read here, on the TaskManager. */
final class Secret {
  private static final Pattern REFERENCE = Pattern.compile("\\$\\{(env|file):(.+)}");

  private Secret() {}

  /**
   * @param reference {@code ${env:NAME}}, {@code ${file:PATH}} or empty for none
   */
  static String resolve(String reference) {
    if (reference.isEmpty()) {
      return "";
    }
    Matcher parts = REFERENCE.matcher(reference);
    if (!parts.matches()) {
      throw new IllegalStateException("expected ${env:NAME} or ${file:PATH} for a secret");
    }
    String place = parts.group(2);
    return parts.group(1).equals("env") ? variable(place) : content(place);
  }

  private static String variable(String name) {
    String value = System.getenv(name);
    if (value == null) {
      throw new IllegalStateException(
          "expected the environment variable " + name + " on the TaskManager; it is not set");
    }
    return value;
  }

  private static String content(String file) {
    try {
      return Files.readString(Path.of(file)).replaceFirst("[\\r\\n]+$", "");
    } catch (IOException e) {
      throw new IllegalStateException("expected a readable file " + file + " on the TaskManager", e);
    }
  }
}
