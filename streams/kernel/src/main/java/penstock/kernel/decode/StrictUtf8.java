package penstock.kernel.decode;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import penstock.kernel.decode.InvalidEventException.Reason;

/**
 * Decodes UTF-8 and rejects malformed bytes. Java's own conversions replace them and so change the
 * event.
 */
final class StrictUtf8 {
  private StrictUtf8() {}

  static String decode(byte[] bytes, int start, int length) throws InvalidEventException {
    try {
      return StandardCharsets.UTF_8
          .newDecoder()
          .onMalformedInput(CodingErrorAction.REPORT)
          .onUnmappableCharacter(CodingErrorAction.REPORT)
          .decode(ByteBuffer.wrap(bytes, start, length))
          .toString();
    } catch (CharacterCodingException error) {
      throw new InvalidEventException(Reason.UNDECODABLE, "not UTF-8");
    }
  }
}
