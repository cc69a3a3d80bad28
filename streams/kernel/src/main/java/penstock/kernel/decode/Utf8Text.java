package penstock.kernel.decode;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import penstock.kernel.decode.Refused.Reason;

/**
 * Strict UTF-8: Java's own conversions replace what is malformed, and the event would no longer be
 * what was sent.
 */
final class Utf8Text {
  private Utf8Text() {}

  static String decode(byte[] bytes, int start, int length) throws Refused {
    try {
      return StandardCharsets.UTF_8
          .newDecoder()
          .onMalformedInput(CodingErrorAction.REPORT)
          .onUnmappableCharacter(CodingErrorAction.REPORT)
          .decode(ByteBuffer.wrap(bytes, start, length))
          .toString();
    } catch (CharacterCodingException error) {
      throw new Refused(Reason.UNDECODABLE, "not UTF-8");
    }
  }
}
