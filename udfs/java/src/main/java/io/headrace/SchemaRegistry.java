package io.headrace;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;

/**
 * A schema registry with Confluent's interface, as far as a reader needs it.
 *
 * <p>Only a 404 with the registry's own error code means that something is not there. Whatever else
 * goes wrong is thrown as {@link IllegalStateException}, which ends the task: no answer is no
 * verdict. An unreachable, slow or broken registry is asked {@link #ATTEMPTS} times in all, each
 * time waited for as long as the settings say; one that refuses us (401, 403, a redirect, a 404 of
 * something else) is asked once.
 */
final class SchemaRegistry {
  static final int ATTEMPTS = 3;
  private static final int PAUSE_MS = 100;
  private static final int ANSWER_LIMIT_BYTES = 1 << 20;
  private static final int NO_SUBJECT = 40401;
  private static final int NO_SCHEMA = 40403;

  private final ObjectMapper json = new ObjectMapper();
  private final String url;
  private final String authorization;
  private final int answerMs;

  /** One version under a subject. */
  record Version(int id, String schema) {}

  /**
   * @param url up to the version of the interface, such as {@code http://registry:8080/apis/ccompat/v7}
   * @param username for basic authentication, empty for none
   * @param answerMs how long to wait to be connected, and for more of an answer
   */
  SchemaRegistry(String url, String username, String password, int answerMs) {
    this.url = url;
    this.answerMs = answerMs;
    byte[] login = (username + ":" + password).getBytes(StandardCharsets.UTF_8);
    authorization =
        username.isEmpty() ? null : "Basic " + Base64.getEncoder().encodeToString(login);
  }

  /** The one of the settings; null if there is none. */
  static SchemaRegistry of(JobParameters parameters) {
    String url = parameters.text("registry.url", "");
    if (url.isEmpty()) {
      return null;
    }
    return new SchemaRegistry(
        url,
        parameters.text("registry.username", ""),
        Secret.resolve(parameters.text("registry.password", "")),
        (int) parameters.number("registry.answer_ms"));
  }

  /** The schema with this id; null if the registry knows none. */
  String schema(int id) {
    JsonNode answer = get("/schemas/ids/" + id, NO_SCHEMA);
    return answer == null ? null : text(answer);
  }

  /** Every version under a subject, deleted ones too: the log may hold their records. */
  List<Version> versions(String subject) {
    String path = "/subjects/" + URLEncoder.encode(subject, StandardCharsets.UTF_8) + "/versions";
    List<Version> found = new ArrayList<>();
    JsonNode numbers = get(path + "?deleted=true", NO_SUBJECT);
    if (numbers != null) {
      for (JsonNode number : numbers) {
        JsonNode one = get(path + "/" + number.asInt() + "?deleted=true", 0);
        found.add(new Version(one.path("id").asInt(), text(one)));
      }
    }
    return found;
  }

  private String text(JsonNode answer) {
    JsonNode schema = answer.get("schema");
    if (schema == null || !schema.isTextual()) {
      throw failed("an answer without a schema");
    }
    return schema.textValue();
  }

  /** The answer; null if it is a 404 with the error code {@code absent}. */
  private JsonNode get(String path, int absent) {
    IOException last = null;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      try {
        if (attempt > 0) {
          Thread.sleep(PAUSE_MS << attempt);
        }
        return ask(path, absent);
      } catch (IOException e) {
        last = e;
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IllegalStateException("interrupted while waiting for the schema registry", e);
      }
    }
    throw failed(ATTEMPTS + " times no good answer, the last time: " + last);
  }

  /** Throws IOException for what may pass by itself. */
  private JsonNode ask(String path, int absent) throws IOException {
    HttpURLConnection connection =
        (HttpURLConnection) URI.create(url + path).toURL().openConnection();
    connection.setConnectTimeout(answerMs);
    connection.setReadTimeout(answerMs);
    connection.setInstanceFollowRedirects(false); // Our login is for this address alone.
    connection.setRequestProperty("Accept", "application/vnd.schemaregistry.v1+json");
    if (authorization != null) {
      connection.setRequestProperty("Authorization", authorization);
    }
    int status = connection.getResponseCode();
    if (status == HttpURLConnection.HTTP_OK) {
      return read(connection.getInputStream());
    }
    if (status >= 500 || status == 429) {
      throw new IOException("status " + status);
    }
    if (status == HttpURLConnection.HTTP_NOT_FOUND && isAbsent(connection, absent)) {
      return null;
    }
    throw failed("status " + status);
  }

  private boolean isAbsent(HttpURLConnection connection, int absent) {
    try {
      JsonNode error = read(connection.getErrorStream());
      return absent != 0 && error.path("error_code").asInt() == absent;
    } catch (IOException e) {
      return false; // the page of some other server
    }
  }

  private JsonNode read(InputStream answer) throws IOException {
    if (answer == null) {
      throw new IOException("an empty answer");
    }
    try (answer) {
      byte[] bytes = answer.readNBytes(ANSWER_LIMIT_BYTES + 1);
      if (bytes.length > ANSWER_LIMIT_BYTES) {
        throw new IOException("an answer of more than " + ANSWER_LIMIT_BYTES + " bytes");
      }
      return json.readTree(bytes);
    }
  }

  private IllegalStateException failed(String received) {
    return new IllegalStateException(
        "expected an answer of the schema registry at "
            + url
            + "; received "
            + received
            + "; see that it runs, and registry.url, registry.username and registry.password");
  }
}
