/* openmp.h: what a program that may compute does first. */
#ifndef AMEND_DAEMON_OPENMP_H
#define AMEND_DAEMON_OPENMP_H

/* GNU OpenMP reads its environment when it is loaded: to bound its spinning the program starts itself once more, unless
 * people have set it. Four programs may share two cores; a thread that spins while the one it waits for has no core
 * keeps that core from it. A thousand rounds are some 50 us, longer than an idle machine needs from one operation to
 * the next: two threads that shared two cores with eight others decoded 2.4 tokens/s with 20000 rounds, 5.8 with 1000,
 * in half of the CPU time. To be called by main before anything else; `argv` is main's. */
void openmp_spinning_bound(char **argv);

#endif
