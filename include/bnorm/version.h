/* SPDX-License-Identifier: MIT */
/* The version of bnorm: the build, the shared library's name and bnorm_version() take it from here alone. */
#ifndef BNORM_VERSION_H
#define BNORM_VERSION_H

#define BNORM_VERSION_MAJOR 0
#define BNORM_VERSION_MINOR 1
#define BNORM_VERSION_PATCH 0
#define BNORM_VERSION "0.1.0"

#endif
