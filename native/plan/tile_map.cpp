// Drawing of tile maps as text; called by comparers and by hand while debugging.
#include "plan/tile_map.h"

namespace fattn {

std::string draw_tiles(const std::vector<TileState>& tiles, int32 num_q_tiles, int32 num_kv_tiles) {
    constexpr char kLetters[] = {'.', '+', '#'};
    std::string text;
    std::size_t at = 0;
    for (int32 q = 0; q < num_q_tiles; ++q) {
        for (int32 t = 0; t < num_kv_tiles; ++t) {
            text += kLetters[static_cast<std::size_t>(tiles[at++])];
        }
        text += '\n';
    }
    return text;
}

}  // namespace fattn
