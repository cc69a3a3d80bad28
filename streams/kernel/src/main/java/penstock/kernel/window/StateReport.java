package penstock.kernel.window;

import java.util.ArrayList;
import java.util.List;

/** What the state of an entity is made of, for people who ask. */
public final class StateReport {
  private StateReport() {}

  /** A tile that holds events, and what each aggregate of the window would give of it alone. */
  public record TileReport(long index, Object[] results) {}

  /**
   * A window of the view at {@code view} in its stage; {@code features} are the places in the view
   * of what its tiles give.
   */
  public record WindowReport(
      int view, long sizeMs, long hopMs, int[] features, List<TileReport> tiles) {}

  /** Every window of every view of the entity. */
  public static List<WindowReport> of(EntityState state) {
    List<WindowReport> windows = new ArrayList<>();
    for (int view = 0; view < state.views.length; view++) {
      ViewState of = state.views[view];
      for (int i = 0; i < of.windows.length; i++) {
        WindowSpec spec = of.spec.windows[i];
        List<TileReport> tiles = of.windows[i].report(of.asOf);
        windows.add(new WindowReport(view, spec.sizeMs, spec.hopMs, spec.features, tiles));
      }
    }
    return windows;
  }
}
