// The ways to compute, as the Python module sees them: each room binds its own part of the module, and
// takes the loops of the instruction set that is asked for.
#pragma once

#include <string>

namespace nanobind { class module_; }

namespace sparsebench {

void bind_lanes(nanobind::module_& module);
void bind_bitmaps(nanobind::module_& module);
void bind_amx(nanobind::module_& module);
void bind_row_blocks(nanobind::module_& module);
void bind_n_of_m(nanobind::module_& module);
void bind_convolution(nanobind::module_& module);
void bind_rewiring(nanobind::module_& module);

void use_lanes(const std::string& set);
void use_bitmaps(const std::string& set);
void use_row_blocks(const std::string& set);
void use_n_of_m(const std::string& set);
void use_convolution(const std::string& set);

}  // namespace sparsebench
