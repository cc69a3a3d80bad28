package penstock.kernel.decode;

import com.google.protobuf.AnyProto;
import com.google.protobuf.ApiProto;
import com.google.protobuf.DescriptorProtos;
import com.google.protobuf.DescriptorProtos.FileDescriptorProto;
import com.google.protobuf.Descriptors.DescriptorValidationException;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.DurationProto;
import com.google.protobuf.EmptyProto;
import com.google.protobuf.FieldMaskProto;
import com.google.protobuf.SourceContextProto;
import com.google.protobuf.StructProto;
import com.google.protobuf.TimestampProto;
import com.google.protobuf.TypeProto;
import com.google.protobuf.WrappersProto;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** The Protobuf files that a schema is made of. {@code schemas/protobuf.py} takes the same. */
final class ProtobufFiles {
  /** Has only options of fields, which say nothing of values; Confluent's tools import it. */
  private static final String ONLY_OPTIONS = "confluent/meta.proto";

  private static final int MOST_FILES = 100;

  private static final List<FileDescriptor> BUILT_IN =
      List.of(
          AnyProto.getDescriptor(),
          ApiProto.getDescriptor(),
          DescriptorProtos.getDescriptor(),
          DurationProto.getDescriptor(),
          EmptyProto.getDescriptor(),
          FieldMaskProto.getDescriptor(),
          SourceContextProto.getDescriptor(),
          StructProto.getDescriptor(),
          TimestampProto.getDescriptor(),
          TypeProto.getDescriptor(),
          WrappersProto.getDescriptor());

  private final Set<String> begun = new HashSet<>();
  private final Map<String, FileDescriptorProto> files = new HashMap<>();
  private final Map<String, FileDescriptor> linked = new HashMap<>();

  ProtobufFiles() {
    BUILT_IN.forEach(file -> linked.put(file.getName(), file));
  }

  /** Notes that a file is read; false if it is or was already. */
  boolean begin(String name) {
    if (begun.size() >= MOST_FILES) {
      throw new IllegalArgumentException("it refers to too many files");
    }
    return begun.add(name);
  }

  void add(FileDescriptorProto file) {
    files.put(file.getName(), file);
  }

  /**
   * The file with what it imports.
   *
   * @throws IllegalArgumentException if it has no message, or a file that it imports is missing, or
   *     imports it
   */
  FileDescriptor linked(FileDescriptorProto file) throws DescriptorValidationException {
    if (file.getMessageTypeCount() == 0) {
      throw new IllegalArgumentException("it has no message");
    }
    return linked(file, new HashSet<>());
  }

  private FileDescriptor linked(FileDescriptorProto file, Set<String> within)
      throws DescriptorValidationException {
    List<String> names = new ArrayList<>(file.getDependencyList());
    names.remove(ONLY_OPTIONS);
    FileDescriptorProto.Builder kept = file.toBuilder();
    kept.clearDependency().clearPublicDependency().clearWeakDependency().addAllDependency(names);
    for (int index : file.getPublicDependencyList()) {
      int keptAt = names.indexOf(file.getDependency(index));
      if (keptAt >= 0) {
        kept.addPublicDependency(keptAt);
      }
    }
    List<FileDescriptor> imported = new ArrayList<>();
    for (String name : names) {
      FileDescriptor found = linked.get(name);
      if (found == null) {
        FileDescriptorProto missing = files.get(name);
        if (missing == null || !within.add(name)) {
          throw new IllegalArgumentException("an imported file is missing or imports itself");
        }
        found = linked(missing, within);
        linked.put(name, found);
      }
      imported.add(found);
    }
    return FileDescriptor.buildFrom(kept.build(), imported.toArray(FileDescriptor[]::new));
  }
}
