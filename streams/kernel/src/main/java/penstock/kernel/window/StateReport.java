package penstock.kernel.window;

import java.util.ArrayList;
import java.util.List;

/** What is in an entity's state, for explanations and tests. */
public final class StateReport {
  private StateReport() {}

  /** A tile, and the result of each aggregate of the window over it alone. */
  public record TileReport(long index, Object[] results) {}

  /**
   * A window of the stage's view at index {@code view}. {@code features} are the indexes in the
   * view of the tiles' results.
   */
  public record WindowReport(
      int view, long sizeMs, long hopMs, int[] features, List<TileReport> tiles) {}

  /** Every window of every view of the entity. */
  public static List<WindowReport> of(EntityState state) {
    List<WindowReport> windows = new ArrayList<>();
    ViewState[] views = state.views();
    for (int view = 0; view < views.length; view++) {
      ViewState of = views[view];
      for (int i = 0; i < of.windows.length; i++) {
        WindowSpec spec = of.spec.windows[i];
        List<TileReport> tiles = of.windows[i].report(of.asOf);
        windows.add(new WindowReport(view, spec.sizeMs, spec.hopMs, spec.features, tiles));
      }
    }
    return windows;
  }
}
