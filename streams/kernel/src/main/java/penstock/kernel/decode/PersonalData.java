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
  private final boolean protectsKeys;
  private final Mac mac;

  /** For the events of {@code source} of the plan. */
  PersonalData(Plan plan, Plan.Source source, byte[] key) {
    List<Plan.Field> fields = source.fields();
    hashed = new boolean[fields.size()];
    dropped = new boolean[fields.size()];
    boolean hashes = false;
    for (int i = 0; i < hashed.length; i++) {
      hashed[i] = "hash".equals(fields.get(i).pii());
      dropped[i] = "drop".equals(fields.get(i).pii());
      hashes |= hashed[i];
    }
    protectsKeys =
        plan.sources().stream()
            .flatMap(each -> each.fields().stream())
            .anyMatch(field -> field.pii() != null);
    if (hashes && (key == null || key.length == 0)) {
      throw new IllegalArgumentException(
          "the contract hashes personal fields, but there is no key");
    }
    mac = hashes ? mac(key) : null;
  }

  /** Replaces the personal values in {@code fields}. */
  void protect(Object[] fields) {
    for (int i = 0; i < fields.length; i++) {
      if (dropped[i]) {
        fields[i] = null;
      } else if (hashed[i] && fields[i] != null) {
        fields[i] =
            fields[i] instanceof List<?> elements
                ? elements.stream().map(element -> hash((String) element)).toList()
                : hash((String) fields[i]);
      }
    }
  }

  /**
   * The key of the feature records: the raw key, unless a contract of the pipeline has personal
   * fields. Topics are partitioned alike, so a raw key of any source may then be such a value, and
   * the key is the protected value of the column that keys the source.
   */
  byte[] protectKey(byte[] key, String keyField, Object[] fields, Map<String, Integer> indexes) {
    if (!protectsKeys) {
      return key;
    }
    Integer index = keyField == null ? null : indexes.get(keyField);
    if (index == null) {
      return null;
    }
    return fields[index] == null ? null : fields[index].toString().getBytes(StandardCharsets.UTF_8);
  }

  String hash(String value) {
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
