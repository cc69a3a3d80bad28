package penstock.kernel.decode;

import com.google.protobuf.Descriptors.FileDescriptor;
import org.apache.avro.Schema;

/** The schema of a registry with which a value is written. */
sealed interface WriterSchema {
  /** An Avro schema. */
  record Avro(Schema schema) implements WriterSchema {}

  /** A JSON Schema: the value is JSON, and the contract's rules are checked. */
  record Json() implements WriterSchema {}

  /** A Protobuf file; values say which of its messages they are. */
  record Protobuf(FileDescriptor file) implements WriterSchema {}
}
