/* SPDX-License-Identifier: MIT */
/* The version of bnorm, in numbers and as a string; the build checks that meson.build says the same. */
#ifndef BNORM_VERSION_H
#define BNORM_VERSION_H

#define BNORM_VERSION_MAJOR 0
#define BNORM_VERSION_MINOR 1
#define BNORM_VERSION_PATCH 0
#define BNORM_VERSION BNORM_DOTTED(BNORM_VERSION_MAJOR, BNORM_VERSION_MINOR, BNORM_VERSION_PATCH) /* "0.1.0" or so */

#define BNORM_DOTTED(major, minor, patch) BNORM_DOTTED_TEXT(major, minor, patch)
#define BNORM_DOTTED_TEXT(major, minor, patch) #major "." #minor "." #patch

#endif
