package penstock.kernel.fill;

import java.io.Serializable;

/**
 * What makes a replay one that fills views of a running pipeline: it publishes nothing, and keeps
 * running at its end, so that a savepoint has the states that it computed. A history is replayed in
 * segments. Each begins with the savepoint of the one before, and has a source of its own, because
 * the source of the one before has finished.
 *
 * @param run the fill's id, in the name of the entities' state
 * @param segment the number of this segment, from 0
 * @param endSavepoint the savepoint at whose positions the segment ends; null: at those of the
 *     replay
 */
public record Fill(String run, int segment, String endSavepoint) implements Serializable {
  /** The name of the entities' state in the operators of a fill. */
  public String stateName() {
    return "filled-" + run;
  }

  /** The id of an operator that each segment has anew. */
  public String uid(String operator) {
    return operator + "-" + segment;
  }
}
