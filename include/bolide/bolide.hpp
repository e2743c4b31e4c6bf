// bolide: exact attention at the speed of the hardware. This header is the whole public C++ interface.
#pragma once
#include <bolide/context.hpp>
#include <bolide/devices.hpp>
#include <bolide/kernels.hpp>
#include <bolide/masks.hpp>
#include <bolide/operations.hpp>
#include <bolide/tiles.hpp>
