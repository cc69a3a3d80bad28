package penstock.kernel.decode;

import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import penstock.kernel.plan.Plan;

/** Hashes or drops personal fields before an event leaves the decoder. */
final class PersonalData {
  private static final int HASH_BYTES = 16;

  private final boolean[] hashed;
  private final boolean[] dropped;
  private final Mac mac;

  PersonalData(List<Plan.Field> fields, byte[] key) {
    hashed = new boolean[fields.size()];
    dropped = new boolean[fields.size()];
    boolean any = false;
    for (int i = 0; i < hashed.length; i++) {
      hashed[i] = "hash".equals(fields.get(i).pii());
      dropped[i] = "drop".equals(fields.get(i).pii());
      any |= hashed[i];
    }
    if (any && (key == null || key.length == 0)) {
      throw new IllegalArgumentException(
          "the contract hashes personal fields, but there is no key");
    }
    mac = any ? mac(key) : null;
  }

  /** Replaces the personal values in {@code fields}. */
  void protect(Object[] fields) {
    for (int i = 0; i < fields.length; i++) {
      if (dropped[i]) {
        fields[i] = null;
      } else if (hashed[i] && fields[i] != null) {
        fields[i] = hash((String) fields[i]);
      }
    }
  }

  /**
   * The key of the feature records: the raw key, unless the source is keyed by a personal field.
   * Then it is that field's protected value.
   */
  byte[] protectKey(byte[] key, String keyField, Object[] fields, Map<String, Integer> indexes) {
    Integer index = keyField == null ? null : indexes.get(keyField);
    if (index == null || !hashed[index] && !dropped[index]) {
      return key;
    }
    return fields[index] == null ? null : fields[index].toString().getBytes(StandardCharsets.UTF_8);
  }

  private String hash(String value) {
    byte[] digest = mac.doFinal(value.getBytes(StandardCharsets.UTF_8));
    return HexFormat.of().formatHex(digest, 0, HASH_BYTES);
  }

  private static Mac mac(byte[] key) {
    try {
      Mac mac = Mac.getInstance("HmacSHA256");
      mac.init(new SecretKeySpec(key, "HmacSHA256"));
      return mac;
    } catch (GeneralSecurityException error) {
      throw new IllegalStateException("this JVM has no HmacSHA256", error);
    }
  }
}
