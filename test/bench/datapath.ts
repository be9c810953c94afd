import type { Part } from './main.ts';
export const datapath: Part = async () => [];
