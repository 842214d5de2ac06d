// Rows of connections, lanes of the batch: what the Python module needs to know of this way.
#pragma once

namespace nanobind { class module_; }

namespace sparsebench {

void use_lanes(const char* name);
void bind_lanes(nanobind::module_& module);

}  // namespace sparsebench
