/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The version of bnorm, in numbers and as a string. The build checks that meson.build says the same.
 */
#ifndef BNORM_VERSION_H
#define BNORM_VERSION_H

/** Changes when programs must be compiled again. */
#define BNORM_VERSION_MAJOR 0
/** Changes when something is added. */
#define BNORM_VERSION_MINOR 1
/** Changes when something is mended. */
#define BNORM_VERSION_PATCH 0
/** The three as a string, such as "0.1.0". */
#define BNORM_VERSION BNORM_DOTTED(BNORM_VERSION_MAJOR, BNORM_VERSION_MINOR, BNORM_VERSION_PATCH)

/** @cond */
#define BNORM_DOTTED(major, minor, patch) BNORM_DOTTED_TEXT(major, minor, patch)
#define BNORM_DOTTED_TEXT(major, minor, patch) #major "." #minor "." #patch
/** @endcond */

#endif
